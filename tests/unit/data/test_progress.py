"""The line that says how far a preparation is."""

from __future__ import annotations

import io
import re

import pytest

from stages.data.preparing import progress
from stages.data.preparing.progress import Progress
from tests.edits import replaced
from tests.unit.data.own_files import declare, run
from tests.unit.data.small import Small
from tests.unit.data.streamed import rows, write

MB = 10**6


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_rate_and_the_time_left_are_of_what_was_done(clock: list[float]) -> None:
    shown = Progress("mine", 100 * MB, out := io.StringIO())
    clock[0] += 40
    shown.show(20 * MB)
    assert out.getvalue() == "mine: 20% of 100.0 MB read, 0.5 MB/s, 0:02:40 left\n"


def test_what_was_kept_is_done_but_not_in_the_rate(clock: list[float]) -> None:
    shown = Progress("mine", 100 * MB, out := io.StringIO())
    clock[0] += 31
    shown.show(60 * MB, 60 * MB)  # its digests took a while to compare
    clock[0] += 40
    shown.show(70 * MB, 60 * MB)
    assert out.getvalue().splitlines() == [
        "mine: 60% of 100.0 MB read (60.0 MB before)",
        "mine: 70% of 100.0 MB read (60.0 MB before), 0.2 MB/s, 0:02:00 left",
    ]


@pytest.mark.usefixtures("cut_small")
def test_every_long_part_of_a_preparation_says_how_far_it_is(
    project: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a large corpus, merging and writing take minutes too."""
    monkeypatch.setattr(progress, "PAUSE", {True: 0.0, False: 0.0})
    monkeypatch.setattr(progress, "LEAST", 0.0)
    write(project, rows(150, seed=2), "other.jsonl")
    spec = (project.root / "specs/data/mine.yaml").read_text()
    (project.root / "specs/data/other.yaml").write_text(replaced(spec, "corpus: mine", "corpus: other"))
    write(project, rows(300))
    declare(project, "rows.jsonl", without=["other"])
    run(project)
    lines = capsys.readouterr().err.splitlines()
    for said in (r"mine: \d+% of .* MB measured", r"other: \d+% of .* MB compared", r"mine: \d+% of .* MB read",
                 r"mine: \d+% of .* MB merged", "mine: 100% of .* MB written"):  # fmt: skip
        assert any(re.match(said, line) for line in lines), said
    assert not any(re.match(r"mine: 1?[1-9]\d[1-9]%", line) for line in lines), "no more than all"
