"""`stages replay`: an undisturbed run is equal in every bit, a flipped one is named by its step; nothing is written."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from stages.commands.replay import inputs as replay_inputs
from stages.commands.replay import print_replay, training
from stages.errors import UserError
from stages.forensics import replay as replaying
from stages.store import trees
from stages.store.digest import digest_file
from tests.edits import replaced
from tests.faults import flips
from tests.faults.flipped_bits import KINDS, planted
from tests.faults.recording import record, with_sums
from tests.unit.cli.own_chats import SCALE
from tests.unit.forensics.conftest import REF, STEPS


@pytest.fixture
def here(pattern: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(pattern)
    return pattern


def change(path: Path, step: int, column: str, cell: Callable[[str], str]) -> None:
    """Write another cell into the table of a finished run."""
    rows = list(csv.DictReader(path.read_text().splitlines()))
    rows[step - 1][column] = cell(rows[step - 1][column])
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def test_an_undisturbed_run_is_equal_to_its_last_bit_and_nothing_is_written(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: digest_file(here / name) for name in trees.files_under(here)}
    assert print_replay(REF, f"1..{STEPS}", SCALE, None, as_json=False) == 0
    said = capsys.readouterr().out
    assert "computed again from what its parents handed over" in said
    assert (
        "equal, every bit of every recorded number, of the rows, weights, optimizer state and gradients of "
        f"{STEPS} steps, and of the result, weights and optimizer state: the cause is in the data or the recipe"
    ) in said
    assert {name: digest_file(here / name) for name in trees.files_under(here)} == before


@pytest.mark.parametrize(("steps", "start", "first"), [("7..8", 6, 7), ("5", 3, 4), ("4..5", 3, 4), ("3", 0, 1)])
def test_it_begins_at_the_checkpoint_before_the_first_step(
    here: Path, capsys: pytest.CaptureFixture[str], steps: str, start: int, first: int
) -> None:
    assert print_replay(REF, steps, SCALE, None, as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["first"], found["last"]) == (first, int(steps[-1]))
    assert found["start"].endswith(f"partial-{start:09d}") or (start, found["start"]) == (0, "")


@pytest.mark.parametrize(("kind", "seed"), [*((kind, seed) for kind in KINDS for seed in (0, 1)), ("gradient", 2)])
def test_one_flipped_bit_is_named_by_its_step_and_its_tensor(here: Path, tmp_path: Path, kind: str, seed: int) -> None:
    stage, inputs, known = replay_inputs(training(REF, SCALE), None)
    found = flips.seen(stage, inputs, known, kind, random.Random(seed), tmp_path)
    assert found.named == found.flip.step, found
    assert found.sum == found.flip.where.partition(" ")[0]
    assert found.sums == 1 or kind in ("weight", "data")  # of a weight and of rows, all gradients follow


def test_without_checksums_a_flip_that_a_step_rounds_away_is_shown_by_a_later_one(here: Path, tmp_path: Path) -> None:
    """AdamW's first update does not depend on a gradient's size, so a doubled one is hardly felt."""
    stage, inputs, known = replay_inputs(training(REF, SCALE), None)
    with planted("gradient", 1, random.Random(2)):
        rows, sums, _ = record(stage, inputs, STEPS)
    faulty = replace(known, rows=tuple(rows), result=False)
    assert (replaying.replay(stage, inputs, with_sums(faulty, {}), 1, STEPS).step or 0) != 1
    assert replaying.replay(stage, inputs, with_sums(faulty, sums), 1, STEPS).step == 1


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("lr", "in the data or the recipe of that step"),
        ("supervised", "in the data or the recipe of that step"),
        (
            "loss",
            "in the loss or the norm that was recorded: rows, weights, optimizer state and gradients are the same",
        ),
        ("grad_norm", "in the loss or the norm that was recorded"),
    ],
)
def test_what_differs_first_says_where_to_look(
    copy: Path, capsys: pytest.CaptureFixture[str], column: str, said: str
) -> None:
    path = copy / "results" / SCALE / REF / "metrics.csv"
    change(path, 5, column, lambda cell: "9" + cell)
    assert print_replay(REF, "4..", SCALE, None, as_json=False) == 1
    out = capsys.readouterr().out
    assert f"step 5: {column}: recorded 9" in out
    assert said in out
    assert f"note: changed since the run wrote it: {path}: expected" in out
    assert "computed twice here with the same bits: the machine that recorded them" in out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rows", "the rows that the step read, before anything is computed from them"),
        ("llm.step", "llm.step, before the update of step 5"),
        ("llm.model.norm.weight.exp_avg", "llm.model.norm.weight.exp_avg, before the update of step 5"),
        ("llm.model.norm.weight.gradient", "in the backward pass of that step, at or after llm.model.norm.weight"),
    ],
)
def test_the_first_checksum_that_differs_says_where_to_look(
    copy: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    path = copy / "results" / SCALE / REF / "checksums.csv"
    change(path, 5, name, lambda cell: f"{int(cell, 16) ^ 1:016x}")
    assert print_replay(REF, "4..", SCALE, None, as_json=False) == 1
    out = capsys.readouterr().out
    assert f"step 5: checksums that differ, of {name}\n" in out
    assert f"the first that differs: {said}" in out
    assert f"note: changed since the run wrote it: {path}" in out


def test_a_checksum_that_the_code_of_then_did_not_take_is_passed_over(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that was stopped and went on under newer code: the cells of its first steps are empty."""
    change(copy / "results" / SCALE / REF / "checksums.csv", 5, "llm.step", lambda cell: "")
    assert print_replay(REF, "4..", SCALE, None, as_json=False) == 0
    assert "equal, every bit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "damage", "said"),
    [
        ("metrics.csv", lambda text: text[:-20], r"metrics\.csv:9: found .*cells"),
        (
            "metrics.csv",
            lambda text: replaced(text, "short,5,", "short,6,"),
            r"metrics\.csv:6: found step '6' after step 4",
        ),
        ("metrics.csv", lambda text: replaced(text, ",loss,", ",los,"), r"metrics\.csv:1: found no column 'loss'"),
        ("metrics.csv", lambda text: replaced(text, "short,3,", "short,3,x"), r"metrics\.csv:4: found tokens 'x"),
        ("metrics.csv", lambda text: "\udcff" + text, r"metrics\.csv: found .*decode"),
        ("checksums.csv", lambda text: text[:-20], r"checksums\.csv:9: found \d+ cells"),
        ("checksums.csv", lambda text: "x" + text, r"checksums\.csv:1: found a first column 'xstep'"),
        ("checksums.csv", lambda text: replaced(text, "\n4,", "\n-4,"), r"checksums\.csv:5: found step '-4'"),
    ],
)
def test_a_damaged_table_is_named_with_its_line(copy: Path, file: str, damage: Callable[[str], str], said: str) -> None:
    path = copy / "results" / SCALE / REF / file
    path.write_bytes(damage(path.read_text()).encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=said + ".*`stages status --deep` names what else was"):
        print_replay(REF, "1..", SCALE, None, as_json=False)


def test_what_a_table_has_does_not_act_on_the_terminal(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy / "results" / SCALE / REF / "metrics.csv"
    path.write_text("".join(f"{line},\x1b[2J\n" for line in path.read_text().splitlines()))
    assert print_replay(REF, "1", SCALE, None, as_json=False) == 1
    said = capsys.readouterr().out
    assert "step 1: \\x1b[2J: recorded \\x1b[2J, computed now " in said
    assert "\x1b" not in said


def test_a_machine_that_does_not_compute_the_same_twice_is_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = random.Random(1)
    with planted("weight", 5, draw):  # in the first of the two replays only
        assert print_replay(REF, f"1..{STEPS}", SCALE, None, as_json=False) == 1
    out = capsys.readouterr().out
    assert "step 5: checksums that differ, of llm." in out
    assert "before the update of step 5: the update before, or memory since" in out
    assert "this machine does not compute the same twice" in out


def test_a_flip_in_the_stored_result_is_named_by_its_tensor(here: Path) -> None:
    stage, inputs, known = replay_inputs(training(REF, SCALE), None)
    from stages.models.tensor_file import Stored

    before, name = Stored.__getitem__, "model.norm.weight"

    def damaged(self: Stored, asked: str) -> Tensor:
        found = before(self, asked).clone()
        return found + 1 if asked == name else found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stored, "__getitem__", damaged)
        found = replaying.replay(stage, inputs, known, STEPS, STEPS)
    assert (found.step, found.equal) == (None, False)
    assert found.tensors == (f"llm.{name}",)


def test_another_environment_is_refused_and_a_looser_tier(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, inputs, known = replay_inputs(training(REF, SCALE), None)
    with pytest.raises(UserError, match="found tier same-order"):
        replaying.replay(stage, inputs, replace(known, tier="same-order"), 1, 2)
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    with pytest.raises(UserError, match=r"computed in the environment .* only a statistical agreement is promised"):
        print_replay(REF, "1..2", SCALE, None, as_json=False)


def test_steps_that_are_not_recorded_are_refused(here: Path) -> None:
    for steps in ("0..3", "3..2", "7..9", "x", "1-2"):
        with pytest.raises(UserError, match=r"--steps: found .*; allowed: A..B, A.. or A, of the 8 steps"):
            print_replay(REF, steps, SCALE, None, as_json=False)


def test_a_damaged_corpus_is_named_before_anything_is_computed(copy: Path) -> None:
    path = copy / "results" / SCALE / "data/chats/tokens.bin"
    data = bytearray(path.read_bytes())
    data[99] ^= 4
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"chats/tokens\.bin: expected blake3"):
        print_replay(REF, "1..2", SCALE, None, as_json=False)


def test_a_stage_that_stopped_is_replayed_from_its_checkpoints(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(copy / "results" / SCALE / REF)
    assert print_replay(REF, "5..", SCALE, None, as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["first"], found["last"], found["tensors"]) == (4, 6, None)
    for folder in (copy / "results/.runs").glob("*/attempt-*/partial-*"):
        shutil.rmtree(folder)
    with pytest.raises(UserError, match=r"no step of it is recorded.*`stages run toy/first --scale paper`"):
        print_replay(REF, "5..", SCALE, None, as_json=False)
    (attempt,) = (copy / "results/.runs").glob("*/attempt-*")
    (attempt / "finding.json").write_text(json.dumps({"message": "loss is nan", "step": 3, "repeats": True}))
    with pytest.raises(UserError, match=r"no step of it is recorded.*`stages status toy/first --scale paper` says why"):
        print_replay(REF, "5..", SCALE, None, as_json=False)
