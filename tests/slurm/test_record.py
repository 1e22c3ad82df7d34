"""The table of the docs and that of the record have the rows of the tests, in their order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slurm import record
from tests.slurm.events import EVENTS

DOCS = Path(__file__).resolve().parents[2] / "docs/cluster.md"


def first_cells(path: Path) -> list[str]:
    rows = [line for line in path.read_text().splitlines() if line.startswith("|")]
    return [row.split("|")[1].strip() for row in rows[2:]]


def test_the_docs_have_every_event_that_is_tested() -> None:
    section = DOCS.read_text().partition("## When a job ends early\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("|")]
    assert rows[2:] == [event.title for event in EVENTS.values()]


def test_the_record_has_every_event_and_the_published_pipeline() -> None:
    assert first_cells(record.PATH) == list(record.TITLES)
    for row in record.read().values():
        assert row[4] == "1", f"{row[0]}: one live writer at most"


def test_a_row_takes_the_place_of_an_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "PATH", tmp_path / "cluster.md")
    monkeypatch.setattr(record, "_versions", lambda: "Slurm 22.05.8")
    first, second, *_ = record.TITLES
    for title, seconds in ((second, "1"), (first, "2"), (second, "3")):
        record.write_row(title, ("requeued", "the same", "0", "1", seconds))
    assert {title: row[5] for title, row in record.read().items()} == {first: "2", second: "3"}
    assert first_cells(record.PATH) == [first, second]
