"""The plan of a stage and of a pipeline, on stages that are written out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stages.contract import hardware
from stages.contract.hardware import Hardware
from stages.contract.parameters import parameters
from stages.plan.pipeline import ClaimPlan, PipelinePlan, as_json, stage_as_json
from stages.plan.stage import EvaluationPlan, StagePlan, plan_stage
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_training import Schedule
from tests.unit.contract._make import piece
from tests.unit.train import tiny

MOE = tiny.make("moe")


@pytest.fixture
def cpu(project: Project) -> Hardware:
    return hardware.load(project.files, "laptop_cpu")


def plan(stage: Stage, machine: Hardware) -> StagePlan:
    return plan_stage("tiny/box", stage, {}, machine, {})


def test_seconds_are_those_of_all_ranks_together_divided_among_them(cpu: Hardware) -> None:
    four = MOE.model_copy(update={"execution": MOE.execution.model_copy(update={"ranks": 4})})
    found = plan(four, cpu)
    assert found.seconds == found.phases[0].seconds == found.phases[0].device_seconds / 4 > 0
    assert found.device_hours == found.phases[0].device_seconds / 3600


def test_parameters_that_a_token_passes_leave_tables_and_idle_experts_out(cpu: Hardware) -> None:
    count = parameters(tiny.MOONLIGHT)
    found = plan(MOE, cpu)
    assert (found.total, found.active, found.sparse) == (count.total, count.active, True)
    assert not plan(tiny.make("next_token"), cpu).sparse
    assert count.idle > 0


def test_what_a_point_takes_and_reads_is_its_trunks(cpu: Hardware) -> None:
    point = plan(MOE.model_copy(update={"trunk": "tiny/whole"}), cpu)
    assert (point.kind, point.flops, point.seconds, point.device_hours) == ("point", 0, 0, 0)
    assert (point.consumed("tokens"), point.phases[0].budget) == (0, MOE.phases[0].budget)
    assert plan(MOE, cpu).consumed("tokens") == MOE.phases[0].budget
    assert plan(MOE, cpu).consumed("patches") == 0


@pytest.mark.parametrize(
    ("pieces", "rates"),
    [
        ((piece(0, 1344, "linear", 0.0, 1344.0),), (256.0, 1344.0, 1344.0)),  # of step ends: the first is of 256 tokens
        ((piece(0, 600, "linear", 0.0, 6.0), piece(600, 1344, "linear", 6.0, 1.0)), (2.56, 1.0, 6.0)),
        ((piece(0, 600, "constant", 1.0, 1.0), piece(600, 1344, "linear", 9.0, 1.0)), (1.0, 1.0, 9.0)),  # a jump
    ],
)
def test_rates_of_the_first_and_the_last_step_and_the_highest(
    pieces: Any, rates: tuple[float, ...], cpu: Hardware
) -> None:
    phase = tiny.phase("next_token", budget=1344, clock_start=0)
    batch = (phase.batch[0].model_copy(update={"sequences": 8}),)
    phase = phase.model_copy(update={"batch": batch})
    made = tiny.stage({"llm": tiny.LLAMA}, (phase,), ("llm",), schedule=Schedule(name="s", pieces=pieces))
    (found,) = plan(made, cpu).phases
    assert (found.lr_first, found.lr_last, found.lr_peak) == pytest.approx(rates)


@pytest.mark.parametrize(("planned", "met"), [(95, False), (96, True), (104, True), (105, False)])
def test_a_total_is_met_to_within_its_rounding_on_both_sides(planned: int, met: bool) -> None:
    assert ClaimPlan("all", published=100, planned=planned, rounding=4).met == met


def test_a_pipeline_adds_its_stages_up_in_hours_and_units(cpu: Hardware) -> None:
    coca = tiny.make("coca")
    longer = coca.phases[0].model_copy(update={"budget": 2 * coca.phases[0].budget})
    pairs = plan(coca.model_copy(update={"phases": (longer,), "schedule": tiny.schedule(longer.budget)}), cpu)
    text = plan(MOE, cpu)
    memory = text.phases[0].memory
    text = replace(text, evaluation=EvaluationPlan(5.0, 7200.0, 3600.0, memory))
    whole = PipelinePlan("p", "P", "mini", cpu, (text, pairs), ())
    assert (whole.tokens("tokens"), whole.tokens("patches")) == (text.phases[0].budget, pairs.phases[0].budget)
    assert (whole.evaluation_hours, whole.device_hours) == (2.0, text.device_hours + pairs.device_hours)
    totals = as_json(whole)["totals"]
    assert (totals["tokens"], totals["patches"]) == (whole.tokens("tokens"), whole.tokens("patches"))
    told = stage_as_json(text)
    assert (told["evaluation"]["device_hours"], told["evaluation"]["seconds"]) == (2.0, 3600.0)
    (phase,) = told["phases"]
    assert phase["flops_per_unit"] == text.phases[0].flops / text.phases[0].budget
    assert phase["memory"]["gradients_bytes"] == memory.gradients != memory.states
