"""Checkpoints and tables that something else has changed, with their digests: named, and never gone on from."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.engines import run, training
from stages.errors import UserError
from stages.store import json_file, manifest, partials
from stages.store.digest import digest_file
from tests.edits import replaced
from tests.faults.test_resume import BOX, RUNS, go_on, root, stopped
from tests.unit.train import tiny

__all__ = ["root", "stopped"]


def rewritten(folder: Path, name: str, change: Callable[[Path], object]) -> None:
    """Change a file of a checkpoint, and its digest in the list with it."""
    change(folder / name)
    listing = json_file.read(folder / partials.NAME)
    listing["files"][name] = digest_file(folder / name)
    json_file.write(folder / partials.NAME, listing)


@pytest.mark.parametrize(("steps", "found"), [(6, 3), (3, 6)])
def test_an_optimizer_s_state_of_another_step_is_named_though_every_digest_fits(
    steps: int, found: int, root: Path, stopped: tuple[Path, bytes]
) -> None:
    ours, other = (root / RUNS / f"attempt-0001/partial-{step:09d}" for step in (steps, found))
    rewritten(ours, "optimizer.safetensors", lambda path: shutil.copy(other / path.name, path))
    if found > steps:
        shutil.rmtree(other)
    why = rf"llm\.step: found {found}; allowed: {steps}, after the {steps} steps of counters\.json"
    with pytest.raises(UserError, match=why):
        run(tiny.make("next_token"), tiny.inputs(root))
    shutil.rmtree(ours)
    run(tiny.make("next_token"), tiny.inputs(root))
    assert (root / BOX / manifest.NAME).read_bytes() == stopped[1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"phase": -1}, {"phase": 1}, {"phase_steps": 5}, {"phase_consumed": -128}, {"phase_consumed": 700},
        {"consumed": 10**30}, {"clock": 0}, {"steps": 9}, {"steps": 0}, {"steps": "6"},
        {"skips": {"norms": [1.0], "skipped": 0}},
    ],
    ids=str,
)  # fmt: skip
def test_counters_of_no_step_of_the_stage_are_named_though_every_digest_fits(
    wrong: dict[str, Any], root: Path, stopped: tuple[Path, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    """How many steps were made says all the others."""
    third, sixth = (root / RUNS / f"attempt-0001/partial-{step:09d}" for step in (3, 6))
    rewritten(sixth, "counters.json", lambda path: json_file.write(path, json_file.read(path) | wrong))
    said = go_on(root, capsys)
    assert f"tiny/box: a checkpoint is passed over: {sixth}/counters.json: " in said
    assert f"tiny/box: goes on after step 3, from {third}\n" in said
    assert (root / BOX / manifest.NAME).read_bytes() == stopped[1]


@pytest.mark.parametrize("number", [5, 7, 10**9 - 1])
def test_a_checkpoint_under_another_step_s_name_is_not_taken_for_that_step(
    number: int, root: Path, stopped: tuple[Path, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    sixth = root / RUNS / "attempt-0001/partial-000000006"
    other = sixth.with_name(f"partial-{number:09d}")
    sixth.rename(other)
    said = go_on(root, capsys)
    assert f"tiny/box: a checkpoint is passed over: {other}" in said
    assert "tiny/box: goes on after step 3, " in said
    assert (root / BOX / manifest.NAME).read_bytes() == stopped[1]


@pytest.mark.parametrize(("name", "text"), [("tier.json", '"exact"'), ("made_by.json", "{}"), ("parents.json", "[]")])
def test_what_a_checkpoint_says_of_itself_is_named_where_it_cannot_be_read(
    name: str, text: str, root: Path, stopped: tuple[Path, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    sixth = root / RUNS / "attempt-0001/partial-000000006"
    rewritten(sixth, name, lambda path: path.write_text(text))
    assert f"tiny/box: a checkpoint is passed over: {sixth / name}: " in go_on(root, capsys)
    assert (root / BOX / manifest.NAME).read_bytes() == stopped[1]


@pytest.mark.parametrize(
    ("name", "edit", "found"),
    [
        ("metrics.csv", lambda text: text + text.splitlines()[-1] + "\n", ":8: found step '6' after step 6"),
        ("metrics.csv", lambda text: replaced(text, "main,3,", "main,4,"), ":4: found step '4' after step 2"),
        ("metrics.csv", lambda text: replaced(text, "main,3,", "main,\u0663,"), ":4: found step '\u0663' after step 2"),
        ("metrics.csv", lambda text: text + "main,7\n", ":8: found another number of cells than columns"),
        ("timing.csv", lambda text: text + "main,7,1,2,3\n", ":8: found another number of cells than columns"),
        ("checksums.csv", lambda text: text + text.splitlines()[-1] + "\n", ":8: found step '6' after step 6"),
        ("timing.csv", lambda text: text + "\udcff", ": found 'utf-8' codec can't decode byte 0xff"),
        ("metrics.csv", lambda text: text + "x" * 200_000, ":7: found field larger than field limit"),
    ],
)  # fmt: skip
def test_a_table_that_no_run_wrote_is_named_though_every_digest_fits(
    name: str, edit: Callable[[str], str], found: str, root: Path, stopped: tuple[Path, bytes]
) -> None:
    sixth = root / RUNS / "attempt-0001/partial-000000006"
    rewritten(
        sixth, name, lambda path: path.write_text(edit(path.read_text()), encoding="utf-8", errors="surrogateescape")
    )
    with pytest.raises(UserError, match=re.escape(f"{sixth / name}{found}")):
        run(tiny.make("next_token"), tiny.inputs(root))
    shutil.rmtree(sixth)  # as the message says
    run(tiny.make("next_token"), tiny.inputs(root))
    assert (root / BOX / manifest.NAME).read_bytes() == stopped[1]


@pytest.mark.parametrize(
    ("name", "edit", "found"),
    [
        ("weights.safetensors", lambda one: one.half(), r"found F16 \[16\]; allowed: F32 \[16\]"),
        ("weights.safetensors", lambda one: one[:1], r"found F32 \[1\]; allowed: F32 \[16\]"),
        ("optimizer.safetensors", lambda one: one.double(), r"found F64 \[16\]; allowed: F32 \[16\]"),
    ],
)
def test_tensors_of_another_type_or_shape_are_named_though_every_digest_fits(
    name: str, edit: Callable[[Tensor], Tensor], found: str, root: Path, stopped: tuple[Path, bytes]
) -> None:
    """Copied into what is there they would be rounded, or repeated."""
    sixth = root / RUNS / "attempt-0001/partial-000000006"

    def change(path: Path) -> None:
        tensors = load_file(path)
        first = next(one for one in sorted(tensors) if tensors[one].shape == (16,))
        save_file(tensors | {first: edit(tensors[first]).clone()}, path)

    rewritten(sixth, name, change)
    with pytest.raises(UserError, match=rf"{name}: 1 tensors do not fit the stage, among them llm\..*: {found}"):
        run(tiny.make("next_token"), tiny.inputs(root))
    shutil.rmtree(sixth)
    run(tiny.make("next_token"), tiny.inputs(root))
    assert (root / BOX / manifest.NAME).read_bytes() == stopped[1]


def saved(path: Path) -> None:
    """As an editor does that saves: another file of as many bytes."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-2] + b"x\n")


class Edited(tiny.Data):
    """Something else writes to a table of the run while it reads the step that begins with a sample."""

    at, path, edit = 0, Path(), staticmethod(saved)

    def samples(self, first: int, count: int, tail: int) -> list[Any]:
        if first == self.at and self.phase.name == "main":
            self.edit(self.path)
        return super().samples(first, count, tail)


@pytest.mark.parametrize("at", [12, 40])  # the fourth step, with a checkpoint after it, and the last
@pytest.mark.parametrize("name", ["metrics.csv", "timing.csv", "checksums.csv"])
@pytest.mark.parametrize("edit", [saved, Path.unlink, lambda path: os.truncate(path, 0)])
def test_what_something_else_wrote_to_a_table_is_not_kept_and_the_steps_before_it_are(
    edit: Callable[[Path], object], name: str, at: int, stopped: tuple[Path, bytes], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    stage = tiny.make("next_token")
    stage = stage.model_copy(update={"execution": stage.execution.model_copy(update={"checkpoint_every": 2})})
    path = tmp_path / RUNS / "attempt-0001/result" / name
    for field, value in (("at", at), ("path", path), ("edit", staticmethod(edit))):
        monkeypatch.setattr(Edited, field, value)
    monkeypatch.setattr(training, "PhaseData", Edited)
    with pytest.raises(UserError, match=rf"{name}: (expected|cannot be written).*a stage goes on from its last"):
        run(stage, tiny.inputs(tmp_path))
    assert not (tmp_path / BOX).exists()
    monkeypatch.setattr(training, "PhaseData", tiny.Data)
    run(stage, tiny.inputs(tmp_path))
    assert (tmp_path / BOX / manifest.NAME).read_bytes() == stopped[1]


def test_what_made_a_checkpoint_does_not_act_on_the_terminal(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sixth = root / RUNS / "attempt-0001/partial-000000006"
    makers = [{"code": "\x1b[2J", "environment": "\u202eelsewhere", "words": "\x1b[31m"}]
    rewritten(sixth, "made_by.json", lambda path: json_file.write(path, makers))
    said = go_on(root, capsys)
    assert "steps made under different code (\\x1b[2J, " in said
    assert "\x1b" not in said
