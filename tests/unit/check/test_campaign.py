"""The campaign of slips: what it changes, that its verdicts are those of the command, and a sample of it."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
import yaml

from stages.check import catalogue
from stages.spec.loader import LoadedPipeline
from tests.edits import replaced
from tests.mutants.campaign import crew, edits, report
from tests.mutants.campaign.bookkeeping import tidied
from tests.mutants.campaign.edits import Edit
from tests.mutants.campaign.leaves import entries, twice, without
from tests.mutants.campaign.numbers import slips
from tests.mutants.campaign.rules import judge
from tests.mutants.campaign.trial import READ_OTHERS, Bench, Outcome
from tests.mutants.mutant import ROOT

TEXT = """\
a: 1  # one
list:
  - name: first
    size: 8Ki
  - name: second
    flow: {x: 1, y: 2}
last: [p, q]
"""


@pytest.fixture(scope="module")
def every() -> list[Edit]:
    return edits.every(ROOT / "specs")


def sample(every: list[Edit], count: int) -> list[Edit]:
    return random.Random(1).sample(crew.sample(every, 1), count)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.6B", {"x10 6.0B", "/10 0.06B", "prefix 0.6M", "prefix 0.6T"}),
        ("8Ki", {"x10 80Ki", "/10 0.8Ki", "prefix 8K", "prefix 8Mi"}),
        ("2e-5", {"x10 2e-4", "/10 2e-6", "minus lost 2e5"}),
        ("14_336", {"x10 143_360", "/10 1_433", "one more 14337"}),
        ("40%", {"x10 400%", "/10 4%", "unit lost 40"}),
        ("1/256", {"x10 10/256", "/10 1/2560"}),
        ("2000 steps", {"x10 20000 steps", "/10 200 steps", "unit lost 2000", "other unit 2000 tokens"}),
        ("0", {"one more 1"}),
    ],
)
def test_a_quantity_slips_as_hands_and_eyes_do(text: str, expected: set[str]) -> None:
    assert {f"{slip} {new}" for slip, new in slips(text)} == expected


def test_every_entry_can_be_taken_out_or_written_twice_and_the_rest_stays() -> None:
    value = yaml.safe_load(TEXT)
    for entry in entries(TEXT):
        expected = json.loads(json.dumps(value))
        held = expected
        for part in entry.path[:-1]:
            held = held[part]
        del held[entry.path[-1]]
        assert yaml.safe_load(without(TEXT, entry)) == expected, entry.path
        if entry.item:
            assert len(entries(twice(TEXT, entry))) > len(entries(TEXT)), entry.path


def test_what_is_said_of_a_removed_figure_goes_with_it() -> None:
    text = "a: {x: 1, y: 2}\nsources:\n  - {covers: [a.x, a.y], mark: chosen}\n  - {covers: [b], mark: chosen}\n"
    assert tidied(text) == "a: {x: 1, y: 2}\nsources:\n  - {covers: [a.x, a.y], mark: chosen}\n"
    assert "a.x]" in tidied(replaced(text, ", y: 2", ""))


def test_every_figure_and_every_reference_of_the_shipped_specs_is_changed(every: list[Edit]) -> None:
    tried = {(one.file, one.place) for one in every}
    for path in sorted((ROOT / "specs").glob("*/*.yaml")):
        file = path.relative_to(ROOT / "specs").as_posix()
        for entry in entries(path.read_text()):
            known = edits.PROSE.intersection(entry.path) or entry.path[0] == "sources"
            if entry.text is not None and not known:
                assert (file, ".".join(map(str, entry.path))) in tried
    assert len(every) > 8_000


@pytest.mark.slow
def test_no_slip_of_a_sample_crashes_or_is_silent_without_a_reason(every: list[Edit], bench: Bench) -> None:
    tried = [(edit, bench.try_out(edit)) for edit in sample(every, 25)]
    crashed = [
        (edit.file, edit.place, edit.new, outcome.detail) for edit, outcome in tried if outcome.verdict == "crash"
    ]
    unexplained = [
        (edit.file, edit.place, edit.slip, edit.new) for edit, outcome in tried
        if outcome.verdict == "silent" and not judge(edit.where, f"{edit.file}:{edit.place}", edit.slip)[1]
    ]  # fmt: skip
    assert (crashed, unexplained) == ([], [])
    assert sum(outcome.verdict in ("caught", "elsewhere") for _, outcome in tried) >= 10


@pytest.mark.parametrize(
    "folder",
    [
        "ouro",
        "data",
        *(
            pytest.param(one, marks=pytest.mark.nightly)
            for one in ("kimi_vl", "scales", "hardware", "llama31_1m_seed001")
        ),
    ],
)
def test_the_verdict_is_that_of_the_command(folder: str, every: list[Edit], bench: Bench, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    edit = random.Random(3).choice([one for one in every if one.file.startswith(f"{folder}/")])
    (tmp_path / "specs" / edit.file).write_text(edit.text)
    command = [sys.executable, "-m", "stages", "check", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    outcome = bench.try_out(edit)
    assert (done.returncode == 1) == (outcome.verdict in ("caught", "elsewhere"))
    if done.stdout:
        ids = {one["id"] for one in json.loads(done.stdout) if one["waived"] is None}
        assert set(outcome.ids) <= ids


def test_what_looks_into_other_pipelines_is_known(bench: Bench) -> None:
    """Their findings are made again where another pipeline is edited; those of the rest are taken over."""

    class Unread(tuple[LoadedPipeline, ...]):
        def __iter__(self) -> NoReturn:
            raise AssertionError("read")

    for context in bench.contexts.values():
        for one in catalogue.ordered():
            if one.check is not None and one.id not in READ_OTHERS:
                list(one.check(replace(context, others=Unread())))


def test_a_slip_is_undone_before_the_next(every: list[Edit], bench: Bench) -> None:
    edit = next(one for one in every if (one.file, one.place, one.new) == ("ouro/warmup.yaml", "rope.base", "1_000"))
    assert bench.try_out(edit).verdict == bench.try_out(edit).verdict
    assert (bench.root / "specs" / edit.file).read_text() == (ROOT / "specs" / edit.file).read_text()
    assert bench.findings(bench.project(edit.file)) == []


def test_an_error_that_is_no_message_counts_as_a_crash(
    every: list[Edit], bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(project: object) -> None:
        raise KeyError("a name")

    monkeypatch.setattr("stages.check.run.run_all", broken)
    outcome = bench.try_out(every[0])
    assert (outcome.verdict, outcome.ids) == ("crash", ())
    assert "KeyError" in outcome.detail


def test_the_report_counts_the_share_of_wrong_slips_that_are_caught() -> None:
    row = {"file": "ouro/warmup.yaml", "place": "rope.base", "where": "stage:rope.base", "slip": "x10",
           "old": "10_000", "new": "100_000", "verdict": "legitimate", "reason": "", "detail": ""}  # fmt: skip
    text = report.markdown([row, {**row, "verdict": "caught"}, {**row, "verdict": "later"}], "1234567", 4)
    assert "A sample, drawn with a fixed seed: 3 of 4 slips" in text
    assert "| share caught | | 50.0% |" in text


def test_outcomes_are_written_and_read(tmp_path: Path) -> None:
    row = {"file": "ouro/pipeline.yaml", "place": "nothing.known", "where": "pipeline:nothing.known", "slip": "x10",
           "old": "1", "new": "10", **vars(Outcome("silent"))}  # fmt: skip
    (tmp_path / "rows").write_text(json.dumps(row) + "\n")
    (read,) = report.read(tmp_path / "rows")
    assert (read["verdict"], read["reason"]) == ("missed", "")
    assert "### Missed without a reason" in report.markdown([read], "a", 1)
