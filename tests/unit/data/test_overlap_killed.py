"""Corpora that are compared with others: the same bytes for any processes, after any kill, and no file that changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from stages.data.files import pieces
from stages.data.preparing import buckets, overlap, worker
from stages.errors import UserError
from stages.store import trees
from tests.faults.disks import Failing, PowerCutError, using
from tests.unit.data.compared_corpora import EXAM, OWN, QUOTED, THEIRS, declare, exam, rows
from tests.unit.data.own_files import run
from tests.unit.data.small import Small, write_spec


@pytest.fixture
def cut_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 900)
    monkeypatch.setattr(worker, "TOKENS", 300)
    monkeypatch.setattr(worker, "CHARACTERS", 200)
    monkeypatch.setattr(buckets, "ROWS", 7)


@pytest.mark.slow
@pytest.mark.usefixtures("cut_small")
def test_the_manifest_does_not_depend_on_the_number_of_processes(project: Small) -> None:
    declare(project, "theirs", rows(project.root, "theirs", THEIRS))
    exam(project, [*OWN, *THEIRS, QUOTED, *EXAM], {"exam": "all"})
    spec = yaml.safe_load((project.root / "specs/data/mine.yaml").read_text())
    write_spec(project.root, "mine", {**spec, "without": ["theirs"], "duplicates": "drop"})
    made = [run(project, processes) for processes in (1, 2, 3)]
    assert made[0] == made[1] == made[2]


@pytest.mark.slow
@pytest.mark.usefixtures("cut_small")
def test_after_a_kill_at_any_change_of_the_disk_it_ends_with_the_same_bytes(project: Small) -> None:
    declare(project, "theirs", rows(project.root, "theirs", THEIRS))
    exam(project, [*OWN[:12], *THEIRS[:4], QUOTED], {"exam": "all"})
    spec = yaml.safe_load((project.root / "specs/data/mine.yaml").read_text())
    write_spec(project.root, "mine", {**spec, "without": ["theirs"]})
    counter = Failing(at=0, code=None, lasting=False)
    with using(counter):
        wanted = run(project)
    for at in range(1, counter.count + 1, 6):
        trees.remove_tree(project.data / "mine")
        with pytest.raises(PowerCutError), using(Failing(at, None, lasting=True)):
            run(project)
        assert run(project) == wanted, at


def test_a_file_of_the_other_corpus_that_has_changed_since_a_kill_is_named(project: Small) -> None:
    declare(project, "theirs", rows(project.root, "theirs", THEIRS[:5]))
    declare(project, "mine", rows(project.root, "mine", OWN + THEIRS), without=["theirs"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stages.data.preparing.merge.Merge.contents", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(project)
    rows(project.root, "theirs", THEIRS[:9])
    with pytest.raises(UserError, match=r"^without theirs: theirs\.jsonl: has changed since the preparation"):
        run(project)


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_file_of_the_other_corpus_that_is_written_to_meanwhile_is_refused(
    project: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(project, "theirs", rows(project.root, "theirs", THEIRS))
    declare(project, "mine", rows(project.root, "mine", OWN), without=["theirs"])
    whole = overlap.write

    def meanwhile(*given: Any) -> Any:
        with (project.root / "theirs.jsonl").open("a") as file:
            file.write(json.dumps({"text": "one more"}) + "\n")
        return whole(*given)

    monkeypatch.setattr(overlap, "write", meanwhile)
    with pytest.raises(UserError, match=r"^theirs\.jsonl: changed while it was read"):
        run(project)
