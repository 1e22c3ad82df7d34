"""Steps, tokens, batches and data of one run."""

from __future__ import annotations

import math
from collections.abc import Iterator

from stages.audit.figures import batches_differ, first_step, last_step, saved_every
from stages.audit.finding import stage_rule
from stages.audit.recipe import Fault, Stage, counted, is_number

CLAIM = 0.02  # a published total is rounded: what lies further from it is another total
SUM = 0.005  # of weights of data: more is not rounding


@stage_rule("budget-claimed", "I-27", "The run trains on another number of tokens than is claimed")
def budget_claimed(stage: Stage) -> Iterator[Fault]:
    """Steps times batch times context compared with the total that the file, or the order file, states."""
    claimed, steps = stage.count("claimed_tokens"), last_step(stage)
    whole = counted([steps, stage.count("batch"), stage.count("context")])
    if claimed is None or whole is None or batches_differ(stage):
        return
    tokens = stage.count("tokens")
    within = max(CLAIM * claimed, stage.count("claimed_within") or 0)
    if min(abs(one - claimed) for one in (whole, tokens) if one is not None) <= within:
        return
    yield stage.fault(
        ("steps", "samples", "budget_tokens"),
        f"{steps:,} steps x {stage.count('batch'):,} x {stage.count('context'):,} = {whole:,} tokens",
        f"{claimed:,} tokens, claimed in {stage.at('claimed_tokens')}",
        f"{abs(whole - claimed):,} tokens " + ("more" if whole > claimed else "fewer") + " than claimed",
        abs(whole - claimed),
        "the claim counts something else, or is left over from another run",
    )


@stage_rule("length-twice", "I-08", "The length of the run is stated twice")
def length_twice(stage: Stage) -> Iterator[Fault]:
    """Two figures for one length: one has no effect, or the launch stops."""
    pairs = (("steps", "samples"), ("steps", "epochs"))
    for one, other in pairs:
        if not (stage.stated(one) and stage.stated(other)) or (other == "epochs" and stage.number(other) == 1):
            continue  # at most one pass over the data
        stops = other == "samples"
        yield stage.fault(
            other,
            f"{other} {stage.get(other)}, and {one} {stage.get(one)}",
            "one of the two",
            "the launch stops at an assertion" if stops else "the steps count",
        )


@stage_rule("units-mixed", "I-08", "Lengths in steps beside lengths in samples")
def units(stage: Stage) -> Iterator[Fault]:
    """Megatron asserts that warm-up and decay are counted as the run is."""
    others = {"samples": ("warmup_steps", "decay_steps"), "steps": ("warmup_samples", "decay_samples")}
    for unit, names in others.items():
        other = [one for one in names if stage.stated(one) and stage.count(one)]
        twice = stage.stated("samples") and stage.stated("steps")  # length-twice
        if not other or not stage.stated(unit) or twice or not stage.framework.startswith("megatron"):
            continue
        yield stage.fault(
            other,
            f"{', '.join(other)} in a run whose length is in {unit}",
            f"lengths in {unit}",
            "the launch stops at an assertion",
        )


@stage_rule("ramp-with-steps", "I-07", "A batch ramp that the run cannot have")
def ramp(stage: Stage) -> Iterator[Fault]:
    """Megatron ramps batches over samples alone, in equal increments from the first size to the last."""
    found = stage.get("ramp")
    if not isinstance(found, tuple) or not stage.framework.startswith("megatron"):
        return
    sizes = [int(one) for one in found if is_number(one)]
    if len(sizes) != 3 or len(found) != 3:
        yield stage.fault("ramp", f"{len(found)} figures", "three: start, increment, samples", "the launch stops")
        return
    start, increment, _ = sizes
    batch = stage.count("batch")
    if stage.stated("steps"):
        yield stage.fault(
            "ramp",
            "a batch ramp in a run whose length is in steps",
            "--train-samples",
            "the launch stops at an assertion",
        )
    if batch is not None and (increment <= 0 or batch < start or (batch - start) % increment):
        yield stage.fault(
            "ramp",
            f"{start} to {batch} in increments of {increment}",
            "whole increments",
            "the launch stops at an assertion",
        )


@stage_rule("weights-sum", "I-30", "The weights of the data sum to neither 1 nor 100")
def weights(stage: Stage) -> Iterator[Fault]:
    """Frameworks divide by the sum: every share is another than the one written."""
    for name, value in stage.values.items():
        shares = value.value
        if not name.startswith("data_weights") or not isinstance(shares, tuple) or len(shares) < 2:
            continue
        known = [float(one) for one in shares if is_number(one)]
        total = math.fsum(known)
        whole = 100 if total > 10 else 1
        if len(known) != len(shares) or abs(total - whole) <= SUM * whole or all(one >= 1 for one in known):
            continue
        yield Fault(
            stage,
            value.where,
            f"{len(known)} weights that sum to {total:.4g}",
            f"a sum of {whole}",
            f"every share is {whole / total:.4g} times the one written",
            unless="the weights are meant as proportions",
        )


@stage_rule("data-counts", "I-30", "As many weights as data sets")
def data_counts(stage: Stage) -> Iterator[Fault]:
    """A weight without a set, or a set without one, moves every later weight to another set."""
    for name, value in stage.values.items():
        paths = stage.get(name.replace("data_weights", "data"))
        if not name.startswith("data_weights") or not isinstance(paths, tuple) or not isinstance(value.value, tuple):
            continue
        if paths and len(paths) != len(value.value):
            found = f"{len(value.value)} weights for {len(paths)} data sets"
            yield Fault(stage, value.where, found, "one each", "the launch stops, or weights belong to other sets")


@stage_rule("save-never", "I-44", "No checkpoint before the end")
def save_never(stage: Stage) -> Iterator[Fault]:
    """A run that is stopped starts over."""
    every, last, first = saved_every(stage), last_step(stage), first_step(stage)
    if every is None or last is None or first is None or not stage.stated("save_every") or last - first <= 1000:
        return
    if every > last - first > 0:
        yield stage.fault(
            "save_every",
            f"a checkpoint every {every:,} steps of {last - first:,}",
            f"several in {last - first:,}",
            "a run that is stopped starts over",
            unless="the run is short enough to be started over",
        )


@stage_rule("eval-never", "I-21", "The run ends before its first evaluation")
def eval_never(stage: Stage) -> Iterator[Fault]:
    """An interval longer than the run: no loss on held-out data is ever computed."""
    every, last, first = stage.count("eval_every"), last_step(stage), first_step(stage)
    off = stage.get("eval_strategy") in {"no", "epoch"} or stage.count("eval_steps") == 0
    silent = "eval_strategy" not in stage.values and not stage.on("partial")
    if stage.framework in {"transformers", "llama-factory"} and silent:
        off = True
        if stage.stated("eval_every"):
            yield stage.fault(
                "eval_every",
                f"an evaluation every {stage.get('eval_every')} steps, and no eval_strategy",
                "eval_strategy: steps",
                "nothing is ever evaluated",
                unless="no evaluation is wanted",
            )
    if every is None or last is None or first is None or not stage.stated("eval_every") or off:
        return
    if every > last - first > 0:
        yield stage.fault(
            "eval_every",
            f"an evaluation every {every:,} steps of {last - first:,}",
            f"at most {last - first:,}",
            "nothing is ever evaluated",
            unless="no evaluation is wanted",
        )
