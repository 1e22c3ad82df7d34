"""What is written twice is refused: which one holds, nobody could say."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.errors import SpecError
from stages.spec.project import Project
from stages.spec.resolved_pipeline import ResolvedPipeline
from tests.unit.spec.small_project import edit

PIPELINE, SECOND = "toy/pipeline.yaml", "toy/second.yaml"
CLAIM = "  - {what: everything, tokens: 4B, lineage: second}\n"


def resolve(root: Path, pipeline: str = "toy") -> ResolvedPipeline:
    return Project.load(root).resolve(pipeline, "paper")


@pytest.mark.parametrize(
    "again",
    [
        CLAIM,
        "  - {what: everything, tokens: 5B, lineage: first}\n",
        "  - {what: the whole, tokens: 4B, stages: [first, second]}\n",
    ],
    ids=["the line twice", "another total under the name", "the same total under another name"],
)
def test_a_claim(root: Path, again: str) -> None:
    line = edit(root, PIPELINE, CLAIM, CLAIM + again)
    with pytest.raises(
        SpecError, match=rf"{PIPELINE}:{line + 1}: claims\.1: found .* a second time, after line {line};"
    ):
        resolve(root)


def test_another_total_of_other_stages_is_another_claim(root: Path) -> None:
    edit(root, PIPELINE, CLAIM, CLAIM + "  - {what: the first, tokens: 2B, stages: [first]}\n")
    assert len(resolve(root).claims) == 2


@pytest.mark.parametrize("covers", ["[phases.main.budget]", '["*"]', "[rope, rope]"])
def test_the_source_of_a_figure(root: Path, covers: str) -> None:
    first = '  - {covers: ["*"], mark: chosen}\n'
    edit(root, SECOND, first, f"{first}  - {{covers: [phases.main.budget], mark: chosen}}\n")
    resolve(root)
    mark = f"  - {{covers: {covers}, mark: assumed, reason: a guess}}\n"
    edit(root, SECOND, "[phases.main.budget], mark: chosen}\n", f"[phases.main.budget], mark: chosen}}\n{mark}")
    with pytest.raises(
        SpecError, match=r"second.yaml:\d+: sources\.2\.covers: found .* a second time, after line \d+;"
    ):
        resolve(root)


def test_a_budget_of_a_reading_beside_the_schedule_that_it_takes_over_is_told_at_the_budget(root: Path) -> None:
    line = edit(root, "toy_variant/second.yaml", "budget: 1B", "budget: 3B")
    said = rf"second.yaml:{line}: phases\.0\.budget: found a schedule that ends at 4,000,000,000 \(schedule "
    with pytest.raises(SpecError, match=said):
        resolve(root, "toy_variant")
    edit(root, "toy/pipeline.yaml", "until: 4B}\n  other", "until: 5B}\n  other")
    resolve(root, "toy_variant")
