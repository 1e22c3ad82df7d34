"""Where checks stay silent: the shipped specs, and changes that look alike and are right."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check import catalogue
from stages.check.context import Context
from stages.check.findings import SPEC, Finding, unwaived
from stages.check.run import check, run
from stages.spec.project import Project
from stages.spec.resolved import Waiver
from stages.spec.resolved_phases import BatchStep
from stages.spec.resolved_training import Schedule
from tests.mutants import changes
from tests.mutants.mutant import Edited
from tests.unit.check.conftest import Shipped

MASKED = Waiver(id="I-19", at=("phases.main.document_mask",), found="false", reason="one document a row")


@pytest.fixture(scope="module")
def shipped_findings(project: Project) -> list[Finding]:
    return unwaived(one for scale in project.scales() for one in run(project, scale))


@pytest.mark.parametrize("id", [one.id for one in catalogue.ordered() if one.check is not None])
def test_the_shipped_specs_hold_at_every_scale(id: str, shipped_findings: list[Finding]) -> None:
    assert [str(one) for one in shipped_findings if one.id in (id, SPEC)] == []


def ids(context: Context, *only: str) -> set[str]:
    return {one.id for one in check(context, only) if one.waived is None}


def test_a_declared_jump_is_no_jump(shipped: Shipped) -> None:
    context = changes.piece("joint_cooldown", 0, first=lambda old: 2 * old.first)(shipped("kimi_vl"))
    assert ids(context, "I-28") == {"I-28"}
    schedule = context.pipeline.stages["joint_cooldown"].schedule
    assert isinstance(schedule, Schedule)
    declared = schedule.model_copy(update={"jumps": ((0, "re-warming to a higher rate"),)})
    assert ids(changes.with_stage(context, "joint_cooldown", schedule=declared), "I-28") == set()


def test_a_stand_in_has_no_rate_to_be_continuous_with(shipped: Shipped) -> None:
    context = shipped("llama31_1m")
    assert context.pipeline.stages["base"].schedule is not None
    assert context.pipeline.stages["cpt_256k"].parents == ("llama31_1m/base",)
    assert ids(context, "I-28") == set()


def test_a_constant_piece_after_a_warm_up_is_no_floor(shipped: Shipped) -> None:
    assert ids(changes.piece("vit_align", 1, shape="constant")(shipped("kimi_vl")), "I-03") == set()


def test_a_decay_that_goes_on_in_the_next_stage_has_not_reached_its_floor(shipped: Shipped) -> None:
    pieces = shipped("kimi_vl").pipeline.stages["joint_cooldown"].schedule
    assert pieces is not None
    assert pieces.pieces[-1].p1 != (1, 1)
    assert ids(shipped("kimi_vl"), "I-03") == set()


def test_a_ramp_is_a_ramp_from_one_rung_on(shipped: Shipped) -> None:
    one_rung = changes.phase("text_pretrain", batch=(BatchStep(after=0, sequences=16),))
    assert ids(one_rung(shipped("kimi_vl")), "I-07", "I-08") == set()


def test_declared_epochs_read_a_stretch_again(shipped: Shipped) -> None:
    short = changes.source("stable_1", 0, lambda old, _: old.model_copy(update={"end": old.start + 20_000}))
    assert ids(short(shipped("ouro")), "I-18") == {"I-18"}
    repeated = changes.both(short, changes.phase("stable_1", epochs=100))
    assert ids(repeated(shipped("ouro")), "I-18") == set()


def test_the_branch_that_is_not_upcycled_may_have_other_loops(shipped: Shipped) -> None:
    stages = shipped("ouro").pipeline.stages
    before, after = stages["stable_1"].phases[0].loops, stages["stable_2_1_4b"].phases[0].loops
    assert before is not None
    assert after is not None
    assert before.count != after.count
    assert ids(shipped("ouro"), "I-31") == set()


def test_totals_are_those_of_the_full_size_only(shipped: Shipped) -> None:
    assert ids(shipped("ouro", "mini"), "I-27") == set()


def test_upcycling_may_start_from_a_pointer(shipped: Shipped) -> None:
    pointer = changes.both(
        changes.stage("upcycle_2_6b", parents=("ouro/keep_1_4b",)),
        changes.init("upcycle_2_6b", "llm", parent="ouro/keep_1_4b"),
    )
    assert ids(pointer(shipped("ouro")), "I-06", "I-13", "I-23", "I-31") == set()


def test_the_full_size_is_compared_with_nothing(shipped: Shipped) -> None:
    assert shipped("ouro", "paper").full is None
    assert ids(shipped("ouro", "paper"), "I-35") == set()


def test_a_waiver_is_shown_with_its_reason(shipped: Shipped) -> None:
    context = changes.both(changes.phase("sft_1m", document_mask=False), changes.stage("sft_1m", waivers=(MASKED,)))(
        shipped("llama31_1m")
    )
    (finding,) = check(context, ("I-19",))
    assert finding.waived == "one document a row"
    assert unwaived([finding]) == []
    assert str(finding).endswith("Waived: one document a row")


def test_what_a_reading_shares_is_checked_where_it_lives(tmp_path: Path) -> None:
    edited = Edited("kimi_vl/text_pretrain.yaml", "document_mask: true", "document_mask: false")
    found = unwaived(run(edited.project(tmp_path), "mini"))
    assert [one.stage for one in found] == ["kimi_vl/text_pretrain"]


def test_a_reading_is_checked_where_it_differs(tmp_path: Path) -> None:
    edited = Edited("kimi_vl/joint_cooldown.yaml", "document_mask: true", "document_mask: false")
    found = unwaived(run(edited.project(tmp_path), "mini"))
    assert [one.stage for one in found] == ["kimi_vl/joint_cooldown", "kimi_vl_seed004/joint_cooldown"]
