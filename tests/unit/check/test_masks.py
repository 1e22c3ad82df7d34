"""I-19: documents that see each other need a citation of their own, or a waiver."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.findings import Finding, unwaived
from stages.check.run import run_all
from stages.spec.project import Project
from tests.unit.spec import small_project
from tests.unit.spec.small_project import edit

CITED = "{covers: [phases.main.document_mask], mark: published, citation: arXiv 2412.19437 section 4.1}"
WAIVER = "waivers:\n  - {id: I-19, at: phases.main.document_mask, found: false, reason: one book a row}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    small_project.write(tmp_path)
    edit(tmp_path, "toy/second.yaml", "document_mask: true", "document_mask: false")
    return tmp_path


def found(root: Path) -> list[Finding]:
    return [one for one in unwaived(run_all(Project.load(root))) if one.id in ("I-19", "S-07", "spec")]


def source(root: Path, line: str, file: str = "toy/second.yaml") -> None:
    edit(root, file, "sources:\n", f"sources:\n  - {line}\n")


def test_published_practice_is_cited(root: Path) -> None:
    (one, *_) = found(root)
    assert (one.id, one.stage) == ("I-19", "toy/second")
    assert "add {covers: [phases.main.document_mask], mark: published, citation: ...} to `sources`" in one.repair
    source(root, CITED)
    assert found(root) == []
    edit(root, "toy/second.yaml", "sources:\n", f"{WAIVER}sources:\n")
    assert {one.id for one in found(root)} == {"S-07"}, "one of the two is enough"


@pytest.mark.parametrize(
    "line",
    [
        CITED.replace("published, citation: arXiv 2412.19437 section 4.1", "chosen"),
        CITED.replace("phases.main.document_mask", "phases.main"),
    ],
    ids=["a choice", "a citation of the whole phase"],
)
def test_nothing_else_excuses_it(root: Path, line: str) -> None:
    source(root, line)
    assert {one.id for one in found(root)} == {"I-19"}


def test_a_variant_cites_what_it_leaves_out_itself(root: Path) -> None:
    source(root, CITED)
    edit(root, "toy_variant/second.yaml", "document_mask: true", "document_mask: false")
    assert {(one.id, one.stage) for one in found(root)} == {("I-19", "toy_variant/second")}
    source(root, CITED, "toy_variant/second.yaml")
    assert found(root) == []
