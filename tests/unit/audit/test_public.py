"""Published recipes, frozen as numbers: what an audit finds in each, and what a person who read it again calls it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from stages.audit import run
from tests.unit.audit.public_recipes import NAMES, published

PAGE = Path(__file__).resolve().parents[3] / "results/records/audited_recipes.md"
READINGS = ("defect", "depends", "meant")


@pytest.mark.parametrize("name", NAMES)
def test_the_findings_are_those_that_were_read_again(name: str) -> None:
    recipe = published(name)
    found = [
        {"kind": one.kind, "recipe": one.stage, "line": one.where.line, "certain": one.certain, "tokens": one.tokens}
        for one in run.findings(recipe.pipeline)
    ]
    kept = [{key: one[key] for key in ("kind", "recipe", "line", "certain", "tokens")} for one in recipe.findings]
    assert sorted(found, key=str) == sorted(kept, key=str)


def test_every_finding_has_been_read_and_every_recipe_has_a_source() -> None:
    recipes = [published(name) for name in NAMES]
    for recipe in recipes:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", recipe.repository)
        assert re.fullmatch(r"[0-9a-f]{40}", recipe.commit)
        assert all(one["read"] in READINGS and one["because"] for one in recipe.findings)
    assert sum(bool(one.pipeline.edges) for one in recipes) >= 8, "recipes of several stages"
    assert len({stage.framework for one in recipes for stage in one.pipeline.stages}) == 8, "every format that is read"


def test_what_is_certain_is_a_defect_or_an_example_to_be_filled_in() -> None:
    """Certain findings that were meant: two examples of Megatron-LM for one node, whose comments say so."""
    certain = [one for name in NAMES for one in published(name).findings if one["certain"]]
    assert Counter(one["read"] for one in certain) == {"defect": 3, "meant": 2}


def test_the_page_has_a_row_for_every_recipe() -> None:
    rows = []
    for recipe in sorted((published(name) for name in NAMES), key=lambda one: one.name):
        read = Counter(one["read"] for one in recipe.findings)
        counts = " | ".join(str(read[one]) for one in READINGS)
        source = f"{recipe.repository} {recipe.commit[:12]}"
        rows.append(f"| {recipe.name} | {source} | {len(recipe.pipeline.stages)} | {counts} |")
    assert "\n".join(rows) in PAGE.read_text()
