"""Scales that differ by their seeds have the same findings, and are checked once; any other scale is for itself."""

from pathlib import Path

from stages.check.findings import Finding, unwaived
from stages.check.run import check, make_context, run, run_all
from stages.spec.project import Project
from tests.mutants.mutant import Edited
from tests.unit.spec.small_project import edit

WRONG = Edited("ouro/stable_1.yaml", "document_mask: true", "document_mask: false")
SEEDED = "mini_seed2"


def _one_by_one(project: Project, scale: str) -> list[Finding]:
    """What the checks say of every pipeline at the scale itself."""
    contexts = (make_context(project, name, scale) for name in project.pipelines(variants=True, scale=scale))
    return list(dict.fromkeys(finding for context in contexts for finding in check(context)))


def test_what_is_found_is_what_the_checks_say_at_the_scale_itself(tmp_path: Path) -> None:
    project = WRONG.project(tmp_path)
    found = [one for one in run_all(project) if one.scale == SEEDED]
    assert unwaived(found)
    assert any(one.waived for one in found)
    assert found == run(project, SEEDED) == _one_by_one(Project.load(tmp_path), SEEDED)


def test_only_what_extends_nothing_is_the_same_but_for_its_seeds(tmp_path: Path) -> None:
    project = WRONG.project(tmp_path)
    assert project.reseeds("ouro", SEEDED) == "mini"
    assert project.reseeds("ouro_seed003", SEEDED) is None
    assert project.reseeds("ouro", "mini_nemo") is None
    assert project.reseeds("ouro", "mini") is None


def test_a_scale_that_says_more_is_checked_for_itself(tmp_path: Path) -> None:
    WRONG.project(tmp_path)
    edit(tmp_path, f"scales/{SEEDED}.yaml", "seed: 2\n", "seed: 2\nexecution: {memory: 100 MB}\n")
    edit(tmp_path, f"scales/{SEEDED}.yaml", "[seed]", "[seed, execution]")
    found = run_all(Project.load(tmp_path))
    assert {one.scale for one in found if (one.id, one.stage) == ("I-42", "ouro/warmup")} == {SEEDED}
