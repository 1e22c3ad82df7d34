"""What a reviewer sees although no key moves: waivers, and where figures come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.edits import replaced
from tests.unit.diff.conftest import Told, commit, found
from tests.unit.spec.small_project import edit

FIRST, SECOND = "toy/first.yaml", "toy/second.yaml"


def test_figures_that_come_from_elsewhere_are_told(root: Path, told: Told) -> None:
    """Where a figure comes from moves no key; a reviewer has to see that a paper's figure became a guess."""
    edit(root, FIRST, "mark: published, citation: a table", "mark: assumed, reason: a guess")
    assert "sources:\n  published → assumed  specs/toy/first.yaml  phases.short.budget\n" in told()
    assert "no semantic change" in told()
    assert found(told)["marks"] == [
        {"file": "specs/toy/first.yaml", "old": "published", "new": "assumed", "figures": ["phases.short.budget"]}
    ]


@pytest.mark.parametrize(
    "sources",
    [
        "",
        " 3",
        " true",
        " {a: b}",
        " [a]",
        " [{mark: chosen}]",
        " [{covers: [[a]], mark: chosen}]",
        " [{covers: ['*']}]",
    ],
)
def test_sources_of_another_scale_are_those_that_are_entries(root: Path, told: Told, sources: str) -> None:
    """That of another scale: what is wrong with it is a finding of that scale."""
    text = (root / "specs/scales/mini.yaml").read_text()
    (root / "specs/scales/mini.yaml").write_text(f"{text.partition('sources:')[0]}sources:{sources}\n")
    assert "no semantic change" in told(scale="paper")


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ("", "  - {id: I-19, at: phases.main.document_mask, found: false, reason: why}", "added"),
        ("  - {id: I-29, at: phases.main.context, found: 8Ki, reason: why}", "", "removed"),
        (
            "  - {id: I-29, at: phases.main.context, found: 8Ki, reason: why}",
            "  - {id: I-29, at: phases.main.context, found: 16Ki, reason: why}",
            "widened",
        ),
        (
            "  - {id: I-28, at: first -> llm, found: 1e-4 -> 2e-4, reason: why}",
            "  - {id: I-28, at: [first -> llm, first -> vit], found: 1e-4 -> 2e-4, reason: why}",
            "widened",
        ),
        (
            "  - {id: I-29, at: phases.main.context, found: 16Ki, reason: why}",
            "  - {id: I-29, at: phases.main.context, found: 8Ki, reason: why}",
            "narrowed",
        ),
    ],
)
def test_changed_waivers_are_told(root: Path, told: Told, before: str, after: str, what: str) -> None:
    spec = root / "specs" / SECOND
    plain = spec.read_text()
    for waiver in (before, after):
        text = replaced(plain, "\nsources:", f"\nwaivers:\n{waiver}\nsources:") if waiver else plain
        if text != spec.read_text():
            spec.write_text(text)
            commit(root, "another")
    (change,) = found(told, old="HEAD~1", new="HEAD")["waivers"]
    assert (change["what"], change["ref"]) == (what, "toy/second")
    assert f"waivers:\n  {what} specs/toy/second.yaml:" in told(old="HEAD~1", new="HEAD")


def test_another_reason_of_a_waiver_is_none_to_tell(root: Path, told: Told) -> None:
    edit(root, SECOND, "\nsources:", "\nwaivers:\n  - {id: I-29, at: rope, found: 8Ki, reason: why}\nsources:")
    commit(root, "two")
    edit(root, SECOND, "reason: why", "reason: as the paper says")
    assert found(told)["waivers"] == []


def test_a_figure_that_changed_under_its_citation_is_told(root: Path, told: Told) -> None:
    """Whether a paper says the new figure no check can know; the reviewer is shown what it is said to come from."""
    edit(root, FIRST, "budget: 1B\n    context: 4Ki", "budget: 0.9B\n    context: 4Ki")
    assert (
        "edited under the source that they had:\n  published, a table  toy/first.yaml  phases.short.budget\n"
    ) in told()
    assert found(told)["kept"] == [
        {"file": "specs/toy/first.yaml", "mark": "published", "said": "a table", "figures": ["phases.short.budget"]}
    ]
    assert "edited under the source that they had: published, a table" in told(markdown=True)


def test_a_figure_that_changed_with_its_citation_is_not_told_apart(root: Path, told: Told) -> None:
    edit(root, FIRST, "budget: 1B\n    context: 4Ki", "budget: 0.9B\n    context: 4Ki")
    edit(root, FIRST, "citation: a table", "citation: another table")
    assert "source that they had" not in told()


def test_another_citation_of_the_same_figure_is_told(root: Path, told: Told) -> None:
    edit(root, FIRST, "citation: a table", "citation: another table")
    line = "published, a table → published, another table  specs/toy/first.yaml  phases.short.budget"
    assert f"sources:\n  {line}\n" in told()
