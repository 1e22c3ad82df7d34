"""What evaluations read and take, by hand; and that the plan's counts are those of the code that evaluates."""

from __future__ import annotations

from typing import Any

import pytest

from stages.contract import cost, duration, evaluations, hardware
from stages.contract.evaluations import Rows
from stages.contract.hardware import Hardware
from stages.evals import language, needle, subject
from stages.plan.pipeline import as_json, plan_pipeline
from stages.spec.project import Project
from stages.spec.resolved import Stage

LONG = 2**20


@pytest.fixture
def h100(project: Project) -> Hardware:
    return hardware.load(project.files, "h100")


@pytest.fixture
def cpt_1m(project: Project) -> Stage:
    return project.resolve("llama31_1m", "paper").stages["cpt_1m"]


def once(stage: Stage, machine: Hardware, project: Project) -> evaluations.Evaluated:
    return evaluations.once(stage, machine, duration.document_lengths(project.data), project.data.kinds)


def named(stage: Stage, *names: str, **execution: Any) -> Stage:
    asked = stage.evaluation.model_copy(update={"names": names})
    execution = stage.execution.model_copy(update=execution)
    return stage.model_copy(update={"evaluation": asked, "execution": execution})


def test_counts_are_those_of_the_evaluations() -> None:
    assert evaluations.FULL_NUMBER == subject.FULL_NUMBER
    assert (evaluations.FEWEST_FULL, evaluations.FEWEST_ANSWERS) == (language.FEWEST_FULL, language.FEWEST_ANSWERS)
    assert (evaluations.FEWEST_LONG, evaluations.FEWEST_NEEDLES) == (language.FEWEST_LONG, needle.FEWEST_ROWS)
    assert len(needle.DEPTHS) == evaluations.DEPTHS


def test_rows_of_a_million_tokens_are_read_whole(cpt_1m: Stage, project: Project) -> None:
    """Two of each corpus, four by position, and ten needles of each length."""
    found = list(evaluations.rows(cpt_1m, project.data.kinds))
    corpora = [one for one in found if one.source is not None]
    assert {(one.count, one.length) for one in corpora} == {(2, LONG)}
    assert [one.source for one in corpora] == list(cpt_1m.phases[0].sources)
    assert found[len(corpora) :] == [Rows(4, LONG), Rows(10, LONG // 4), Rows(10, LONG // 2), Rows(10, LONG)]


def test_a_row_takes_a_forward_pass_of_all_ranks_of_a_model(cpt_1m: Stage, project: Project, h100: Hardware) -> None:
    stage = named(cpt_1m, "position_loss")
    each = cost.language_model(stage.modules["llm"], LONG).flops(False, False)
    found = once(stage, h100, project)
    assert found.flops == pytest.approx(4 * LONG * each)
    assert found.seconds == pytest.approx(4 * LONG * each / (h100.peak * h100.mfu * stage.execution.ranks))


def test_replicas_without_a_row_wait(cpt_1m: Stage, project: Project, h100: Hardware) -> None:
    """Four rows for eight replicas take as long as for four."""
    four, eight = (once(named(cpt_1m, "position_loss", ranks=128 * n), h100, project) for n in (4, 8))
    assert (
        four.seconds == eight.seconds == pytest.approx(once(named(cpt_1m, "position_loss"), h100, project).seconds / 4)
    )


def test_a_pipelines_ranks_wait_for_the_first_row(cpt_1m: Stage, project: Project, h100: Hardware) -> None:
    """Two stages and four rows: a quarter more."""
    layout = cpt_1m.execution.parallel
    assert layout is not None
    apart = named(cpt_1m, "position_loss", ranks=256, parallel=layout.model_copy(update={"pp": 2}))
    alone = once(named(cpt_1m, "position_loss"), h100, project).seconds
    assert once(apart, h100, project).seconds == pytest.approx(alone / 2 * 1.25)


def test_the_torch_engines_first_rank_computes_alone(cpt_1m: Stage, project: Project, h100: Hardware) -> None:
    one, eight = (
        once(named(cpt_1m, "position_loss", parallel=None, engine="torch", ranks=n), h100, project) for n in (1, 8)
    )
    assert one.seconds == eight.seconds > 0


def test_the_plan_has_them_beside_the_total(project: Project, h100: Hardware, cpt_1m: Stage) -> None:
    plan = plan_pipeline(project, "llama31_1m", "paper", h100)
    (stage,) = [one for one in plan.stages if one.ref.endswith("cpt_1m")]
    assert stage.evaluation is not None
    assert stage.evaluation.seconds == 2 * once(cpt_1m, h100, project).seconds
    assert stage.evaluation.device_seconds == 128 * stage.evaluation.seconds
    assert plan.device_hours == sum(phase.device_seconds for one in plan.stages for phase in one.phases) / 3600
    told = as_json(plan)
    assert told["totals"]["evaluation_device_hours"] == plan.evaluation_hours > 0
    assert told["stages"][3]["evaluation"]["seconds"] == stage.evaluation.seconds
    assert "evaluation" not in told["stages"][0], "of an import, which has no phases"
