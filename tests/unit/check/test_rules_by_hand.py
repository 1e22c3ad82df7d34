"""Rules on values that are written out, or on a shipped pipeline with one value changed: the borders of each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stages.check.context import Context
from stages.check.findings import unwaived
from stages.check.rules import data, multimodal_share, optimizer, rope, yarn
from stages.check.run import check
from stages.spec.resolved import Init
from stages.spec.resolved_models import Llama3Scaling, Rope, Yarn
from stages.spec.resolved_phases import BatchStep, ShareRamp
from stages.spec.resolved_training import Schedule
from tests.mutants import changes
from tests.unit.check.conftest import Shipped
from tests.unit.contract._make import piece
from tests.unit.train import tiny

PLAIN = Rope(base=10_000.0, llama3=None, interpolation=1.0)
LLAMA3 = Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=8192)
YARN = Yarn(
    factor=4.0, original=4096, beta_fast=32.0, beta_slow=1.0, truncate=True, attention_factor=None, mscale=None,
    mscale_all_dim=None,
)  # fmt: skip


def told(context: Context, id: str) -> list[str]:
    return [one.observed for one in unwaived(check(context, (id,)))]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, None),
        ({"llama3": LLAMA3}, None),
        ({"base": 1.0}, "a base of 1 on 64 dimensions, divided by 1"),
        ({"interpolation": 0.5}, "an interpolation by 0.5, which lengthens positions"),
        ({"llama3": LLAMA3.model_copy(update={"low": 4.0})}, "llama3 scaling by 8 between 4 and 4"),
        ({"llama3": LLAMA3.model_copy(update={"factor": 0.5})}, "llama3 scaling by 0.5 between 1 and 4"),
        ({"llama3": LLAMA3.model_copy(update={"original": 0})}, "llama3 scaling by 8 between 1 and 4"),
    ],
)
def test_positions_that_no_model_can_be_built_from(changed: dict[str, Any], said: str | None) -> None:
    assert rope.wrong_positions(PLAIN.model_copy(update=changed), 64) == said


def test_an_odd_number_of_dimensions_is_none() -> None:
    assert rope.wrong_positions(PLAIN, 63) == "a base of 10000 on 63 dimensions, divided by 1"


@pytest.mark.parametrize(
    ("changed", "beside", "said"),
    [
        ({}, {}, None),
        ({}, {"interpolation": 2.0}, "yarn beside llama3 scaling or an interpolation"),
        ({}, {"llama3": LLAMA3}, "yarn beside llama3 scaling or an interpolation"),
        ({"factor": 0.5}, {}, "yarn by 0.5 between 1 (beta_slow) and 32 (beta_fast)"),
        ({"beta_slow": 32.0}, {}, "yarn by 4 between 32 (beta_slow) and 32 (beta_fast)"),
        ({"beta_slow": 0.0}, {}, "yarn by 4 between 0 (beta_slow) and 32 (beta_fast)"),
        ({"original": 10**9}, {}, "yarn that leaves all 32 pairs as they are"),
    ],
)
def test_a_yarn_that_does_not_fit(changed: dict[str, Any], beside: dict[str, Any], said: str | None) -> None:
    found = yarn.wrong_yarn(PLAIN.model_copy(update=beside), YARN.model_copy(update=changed), 64)
    assert (found or "").startswith(said or "")
    assert (found is None) == (said is None)


FRESH = Init(weights="fresh", parent=None, release=None, optimizer="reset", layer_map=None, stand_in=False)
HANDED = FRESH.model_copy(update={"weights": "inherit", "parent": "p/a"})


@pytest.mark.parametrize(
    ("init", "changed", "said"),
    [
        (FRESH, {}, None),
        (HANDED, {"optimizer": "inherit"}, None),
        (HANDED, {"average": True}, None),
        (HANDED, {"parent": None}, "weights: inherit with parent None"),
        (FRESH, {"parent": "p/a"}, "weights: fresh with parent p/a"),
        (FRESH, {"release": "r"}, "weights: fresh with release r"),
        (FRESH, {"weights": "release"}, "weights: release with release None"),
        (HANDED, {"weights": "upcycle"}, "weights: upcycle with layer map None"),
        (HANDED, {"layer_map": (0,)}, "weights: inherit with layer map (0,)"),
        (HANDED, {"average": True, "optimizer": "inherit"}, "weights: average with optimizer: inherit"),
        (FRESH, {"optimizer": "inherit"}, "optimizer: inherit with weights: fresh"),
    ],
)
def test_a_module_is_handed_over_as_its_edge_can(init: Init, changed: dict[str, Any], said: str | None) -> None:
    assert optimizer._incomplete(init.model_copy(update=changed)) == said


@pytest.mark.parametrize(
    ("first", "last", "over", "wrong"),
    [
        ((0, 1), (2, 5), 10, False), ((2, 5), (2, 5), 0, False), ((1, 1), (1, 1), 20, False),
        ((2, 5), (1, 5), 10, True), ((0, 1), (6, 5), 10, True), ((0, 1), (2, 5), 0, True), ((0, 1), (2, 5), 21, True),
    ],
)  # fmt: skip
def test_a_share_rises_within_its_phase(first: Any, last: Any, over: int, wrong: bool) -> None:
    assert (data._not_a_ramp(ShareRamp(first=first, last=last, over=over), 20) is not None) == wrong


def test_a_ramps_share_is_another_at_its_end() -> None:
    ramp = tiny.phase("joint", share=ShareRamp(first=(1, 5), last=(2, 5), over=5))
    assert [multimodal_share._share(ramp, end) for end in (0, 1)] == [pytest.approx(0.2), pytest.approx(0.4)]
    assert multimodal_share._share(tiny.phase("joint"), 1) == 0
    assert multimodal_share._share(tiny.phase("joint", sources=()), 1) is None


def rungs(*after: int) -> tuple[BatchStep, ...]:
    return tuple(BatchStep(after=one, sequences=16) for one in after)


def test_a_batch_changes_at_rising_thresholds_inside_the_budget(shipped: Shipped) -> None:
    context = shipped("kimi_vl")
    budget = context.pipeline.stages["text_pretrain"].phases[0].budget
    for after in ((0, budget), (0, 64, 64), (64,), (0, 128, 64)):
        found = told(changes.phase("text_pretrain", batch=rungs(*after))(context), "I-07")
        assert f"batches that change after {[*after]}" in found, after
    assert not told(changes.phase("text_pretrain", batch=rungs(0))(context), "I-07")


def test_phases_count_in_one_unit(shipped: Shipped) -> None:
    context = shipped("kimi_vl")
    (phase,) = context.pipeline.stages["text_pretrain"].phases
    second = phase.model_copy(update={"name": "second", "clock_start": phase.clock_end})
    other = second.model_copy(update={"unit": "patches"})
    assert not told(changes.stage("text_pretrain", phases=(phase, second))(context), "I-07")
    (said,) = told(changes.stage("text_pretrain", phases=(phase, other))(context), "I-07")
    assert said == f"a phase that begins at {phase.clock_end:,} patches"


def test_every_batch_of_a_ramp_is_cut_into_whole_micro_batches(shipped: Shipped) -> None:
    ramp = (BatchStep(after=0, sequences=4), BatchStep(after=1024, sequences=6))
    context = changes.phase("text_pretrain", batch=ramp, micro_batch=4)(shipped("kimi_vl"))
    assert "6 sequences a step in micro-batches of 4" in told(context, "I-08")


@pytest.mark.parametrize("by", [-1, 1])
def test_a_published_total_is_missed_on_both_sides(by: int, shipped: Shipped) -> None:
    context = shipped("ouro", "paper")
    (first, *rest), sizes = context.pipeline.claims, context.pipeline.sizes
    off = replace(first, tokens=first.tokens + by * (first.rounding + 1))
    size = replace(sizes[0], parameters=sizes[0].parameters + by * 10 * (sizes[0].rounding + 1))
    pipeline = replace(context.pipeline, claims=(off, *rest), sizes=(size, *sizes[1:]))
    found = told(replace(context, pipeline=pipeline), "I-27")
    assert len(found) == 2
    assert found[0].startswith(f"{sizes[0].name} has ")
    assert "the stages sum to" in found[1]


@pytest.mark.parametrize("by", [-512, 512])
def test_a_clock_goes_on_where_the_parent_ended(by: int, shipped: Shipped) -> None:
    context = shipped("ouro")
    start = context.pipeline.stages["stable_1"].phases[0].clock_start
    found = told(changes.phase("stable_1", clock_start=start + by)(context), "I-04")
    assert f"a clock that goes on at {start + by:,}" in found


def test_a_clock_that_is_reset_begins_at_zero(shipped: Shipped) -> None:
    found = told(changes.phase("ct_anneal_1_4b", clock_start=512)(shipped("ouro")), "I-04")
    assert "a clock that is reset and begins at 512" in found


def test_pieces_that_overlap_are_found_as_a_gap_is(shipped: Shipped) -> None:
    context = shipped("kimi_vl")
    for by in (-64, 64):
        bent = changes.piece("text_pretrain", 1, start=lambda old, by=by: old.start + by)(context)
        assert any(one.startswith("piece 1 of ") for one in told(bent, "I-05")), by


def test_an_edge_speaks_of_the_stages_own_modules_and_parents(shipped: Shipped) -> None:
    context = shipped("kimi_vl")
    made = context.pipeline.stages["joint_cooldown"]
    ghost = changes.stage("joint_cooldown", init={**made.init, "ghost": FRESH})(context)
    assert "an edge that is silent about [] and speaks of ['ghost']" in told(ghost, "I-06")
    other = changes.stage("joint_cooldown", parents=("kimi_vl/text_pretrain",))(context)
    (said,) = told(other, "I-06")
    assert said.startswith("parents ['kimi_vl/text_pretrain'], of which modules come from ['kimi_vl/joint_pretrain'")


def test_a_caption_loss_that_rises_from_nothing_trains_its_decoder(shipped: Shipped) -> None:
    context = shipped("kimi_vl")
    (phase,) = context.pipeline.stages["vit_coca"].phases
    assert phase.coca is not None
    rising = Schedule(name="rising", pieces=(piece(0, phase.clock_end, "linear", 0.0, 2.0),))
    for weight, found in ((0.0, 1), (rising, 0), (2.0, 0)):
        coca = phase.coca.model_copy(update={"caption_weight": weight})
        assert len(told(changes.phase("vit_coca", coca=coca)(context), "I-34")) == found, weight


def test_a_ramp_begins_and_ends_as_its_spec_says(shipped: Shipped) -> None:
    context = shipped("kimi_vl")
    (phase, *_) = context.pipeline.stages["joint_pretrain"].phases
    assert phase.share is not None
    for changed, said in (({"first": (1, 10)}, "10.00% to 40.00%"), ({"last": (1, 2)}, "0.00% to 50.00%")):
        ramp = phase.share.model_copy(update=changed)
        assert said in told(changes.phase("joint_pretrain", share=ramp)(context), "I-30")


def test_a_phase_goes_on_with_the_share_that_the_one_before_it_ended_with(shipped: Shipped) -> None:
    context = shipped("kimi_vl")
    (phase, *_) = context.pipeline.stages["joint_pretrain"].phases
    assert phase.share is not None
    fallen = phase.share.model_copy(update={"first": (1, 5)})
    second = phase.model_copy(update={"name": "second", "clock_start": phase.clock_end, "share": fallen})
    found = told(changes.stage("joint_pretrain", phases=(phase, second))(context), "I-30")
    assert f"a share that falls from 40.00% to 20.00% after phase {phase.name}" in found
