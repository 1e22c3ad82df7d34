"""The learning rate inside a run: where it ends, whether it gets there, what it is at the end."""

from __future__ import annotations

from collections.abc import Iterator

from stages.audit import curve
from stages.audit.figures import batches_differ, first_step, last_step
from stages.audit.finding import rule, stage_rule
from stages.audit.frameworks import TRAINERS
from stages.audit.loads import on_load
from stages.audit.recipe import Fault, Pipeline, Stage

SHARE = 0.01  # of a run: a decay that ends less than this early or late is rounding


def part(stage: Stage, steps: int) -> int | None:
    """The tokens of so many steps, None where batches differ or a figure is unknown."""
    batch, context = stage.count("batch"), stage.count("context")
    return None if batch is None or context is None or batches_differ(stage) else steps * batch * context


@stage_rule("decay-early", "I-03", "The decay ends before the run does")
def decay_early(stage: Stage) -> Iterator[Fault]:
    """A rate that is at its smallest for a part of the run; at zero, that part trains nothing."""
    shape, first, last = curve.of(stage), first_step(stage), last_step(stage)
    if shape is None or shape.shape == "constant" or first is None or last is None:
        return
    if shape.floor >= shape.peak:
        return
    idle = last - max(shape.end, first)
    if idle <= SHARE * (last - first) or last <= first:
        return
    nothing = shape.floor == 0
    yield stage.fault(
        ("decay_steps", "decay_samples", "lr"),
        f"the rate is {shape.floor:g} from step {shape.end:,} on",
        f"a decay that ends with the run, at step {last:,}",
        f"{idle:,} steps " + ("train nothing" if nothing else "train at the smallest rate"),
        part(stage, idle),
        None if nothing else "the run is meant to end at its smallest rate",
    )


@rule("decay-unfinished", "I-03", "The run ends before the decay does, and nothing goes on from there")
def decay_unfinished(pipeline: Pipeline) -> Iterator[Fault]:
    """A schedule that is cut: the model is left at a rate that was meant to fall further."""
    for stage in pipeline.stages:
        shape, last = curve.of(stage), last_step(stage)
        if shape is None or last is None or shape.shape == "constant" or shape.floor >= shape.peak:
            continue
        children = [on_load(edge.child) for edge in pipeline.children(stage)]
        if shape.end - last <= SHARE * shape.end or any(one is not None and one.step for one in children):
            continue
        rate = shape.at(last)
        if rate is not None and any(_begins_at(edge.child, rate) for edge in pipeline.children(stage)):
            continue
        left = "" if rate is None else f" at {rate:.3g}"
        yield stage.fault(
            ("decay_steps", "decay_samples", "steps", "budget_tokens"),
            f"the run stops at step {last:,}{left}, of a decay to {shape.floor:g} at step {shape.end:,}",
            f"a decay over {last:,} steps",
            f"the last {shape.end - last:,} steps of the decay are never trained",
            unless="another run goes on from this one with the same schedule",
        )


def _begins_at(child: Stage, rate: float) -> bool:
    """Whether a run with a schedule of its own goes on from its parent's last rate, as an annealing does."""
    shape = curve.of(child)
    return shape is not None and not shape.warmup and not curve.apart(shape.peak, rate)


@stage_rule("warmup-long", "I-36", "The warm-up is longer than the run")
def warmup_long(stage: Stage) -> Iterator[Fault]:
    """The peak that the file states is never reached."""
    warmup, last, first = stage.count("warmup_steps"), last_step(stage), first_step(stage)
    if not warmup or last is None or first is None or warmup < last or first >= last:
        return
    yield stage.fault(
        ("warmup_steps", "warmup_fraction", "warmup_samples"),
        f"a warm-up of {warmup:,} steps in a run that ends at step {last:,}",
        f"fewer than {last:,} steps",
        "it is cut to the whole run" if stage.framework == "torchtitan" else "the rate never reaches its peak",
        part(stage, last - first),
    )


@stage_rule("warmup-past-decay", "I-36", "The warm-up ends after the decay does")
def warmup_past_decay(stage: Stage) -> Iterator[Fault]:
    """Megatron's scheduler asserts the opposite; elsewhere the rate falls from its peak at once."""
    warmup, end = stage.count("warmup_steps"), stage.count("decay_steps")
    first = _decay_from(stage, end)
    if warmup and first is not None and end is not None and first < warmup - SHARE * warmup and warmup < end:
        yield stage.fault(
            ("decay_start", "wsd_steps", "warmup_steps"),
            f"a warm-up of {warmup:,} steps, a decay from step {max(0, first):,} on",
            "a warm-up before the decay",
            "the decay is cut to what the warm-up leaves of it"
            if stage.framework == "torchtitan"
            else "the rate falls at once where the warm-up ends",
        )
    if not warmup or end is None or stage.get("decay") == "constant" or warmup < end or not stage.stated("decay_steps"):
        return
    megatron = stage.framework.startswith("megatron")
    yield stage.fault(
        ("decay_steps", "warmup_steps"),
        f"a warm-up of {warmup:,} steps, a decay that ends at {end:,}",
        "a warm-up before the decay",
        "the launch stops at an assertion" if megatron else "the rate jumps after it",
    )


def _decay_from(stage: Stage, end: int | None) -> int | None:
    """The step that a decay is stated to begin at, before what is cut of it; below 0 where it is longer than all."""
    if stage.stated("decay_start"):
        return stage.count("decay_start")
    tail = stage.count("wsd_steps") if str(stage.text("decay")).lower() == "wsd" and stage.stated("wsd_steps") else None
    return None if tail is None or end is None else end - tail


@stage_rule("floor-above-peak", "I-36", "The smallest rate is above the peak")
def floor_above_peak(stage: Stage) -> Iterator[Fault]:
    """A decay that rises; Megatron refuses it."""
    peak, floor, ratio = stage.number("lr"), stage.number("min_lr"), stage.number("min_lr_ratio")
    what = "the launch stops at an assertion" if stage.framework.startswith("megatron") else "the rate rises"
    if peak is not None and floor is not None and floor > peak:
        yield stage.fault(("min_lr", "min_lr_ratio"), f"{floor:g} above the peak {peak:g}", f"at most {peak:g}", what)
    elif peak is None and ratio is not None and ratio > 1:
        yield stage.fault("min_lr_ratio", f"{ratio:g} of the peak", "at most 1", what)


@stage_rule("warmup-twice", "I-05", "The warm-up is stated twice")
def warmup_twice(stage: Stage) -> Iterator[Fault]:
    """As steps or samples and as a share: one of them is ignored, or the launch stops."""
    lengths = [one for one in ("warmup_steps", "warmup_samples") if stage.stated(one) and stage.count(one)]
    if not lengths or not stage.stated("warmup_fraction") or not stage.number("warmup_fraction"):
        return
    counts = "the steps count, and the share is ignored" if stage.framework in TRAINERS else "the launch stops"
    yield stage.fault(
        "warmup_fraction",
        f"a share {stage.get('warmup_fraction')}, and {stage.get(lengths[0])} {lengths[0].rpartition('_')[2]}",
        "one of the two",
        counts,
    )
