"""No check speaks of a published recipe: each with its own figures, at full size."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.findings import unwaived
from stages.check.notices.rates import highest, lowest
from stages.check.notices.run import notices
from stages.check.run import run
from stages.spec.project import Project
from tests.unit.check import recipes

RECIPES = recipes.recipes()
RESOURCES = {"I-42", "I-44"}  # on how many GPUs is not asked here
# What `stages check` says of every scale whose corpora are not at hand.
OF_THE_SCALE = (
    ": they are planned and checked",
    "published corpora are not bound",
    "evaluated on rows of 1,024 tokens",
)


@pytest.mark.parametrize("name", RECIPES)
def test_a_published_recipe_has_no_finding_and_no_notice(tmp_path: Path, name: str) -> None:
    project = Project.load(recipes.write(tmp_path, name, RECIPES[name]))
    told = [one for one in notices(project, ["full"]) if not any(said in one for said in OF_THE_SCALE)]
    findings = [one for one in unwaived(run(project, "full")) if one.id not in RESOURCES]
    found = [f"{one.id} {one.where}: {one.observed}" for one in findings]
    assert (told, found) == ([], [])


@pytest.mark.parametrize(
    ("name", "stage", "old", "new", "said"),
    [
        ("olmo3_7b", "longer", "2.0712352850360292e-4", "2.0712352850360292e-3", "for longer contexts at such sizes"),
        ("olmo3_7b", "longer", "2.0712352850360292e-4", "2e-4", "for longer contexts at such sizes"),
        ("code_llama_7b", "longer", "2e-5", "3e-4", "for longer contexts at such sizes"),
        ("dclm_7b", "pretrain", "2e-3", "2e-2", "above 0.002: for pre-training at such sizes"),
        ("kimi_linear_48b", "pretrain", "1.1e-3", "2e-3", "above 0.0012: for pre-training at such sizes"),
        ("apertus_70b", "pretrain", "1e-5", "1e-6", "below 1e-05: for pre-training from scratch at such sizes"),
        ("apertus_70b", "longer", "1e-6", "1e-7, jump: a slip", "below 1e-06: for longer contexts at such sizes"),
        ("prolong_8b", "longer", "1e-5", "1e-6", "below 3e-06: for longer contexts at such sizes"),
        ("openmath_7b", "sft", "2e-4", "3e-4", "above 0.0002: for fine-tuning on answers at such sizes"),
        ("tulu3_8b", "sft", "5e-6", "2e-4", "above 0.0001: for fine-tuning on answers at such sizes"),
    ],
)
def test_a_rate_that_no_recipe_of_the_size_has_is_told(
    tmp_path: Path, name: str, stage: str, old: str, new: str, said: str
) -> None:
    """The table's bounds go with the size of the model; one recipe's rate is another's slip."""
    recipe = RECIPES[name]
    first, *others = recipe["stages"][stage]["rates"]
    assert old in first
    changed = {**recipe["stages"], stage: {**recipe["stages"][stage], "rates": [first.replace(old, new), *others]}}
    project = Project.load(recipes.write(tmp_path, name, {**recipe, "stages": changed}))
    assert [said in one for tell in (highest, lowest) for one in tell(project, "full")] == [True]
