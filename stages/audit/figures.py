"""What follows from a recipe's figures: replicas, batch, steps, tokens, and where the learning rate begins and ends."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace

from stages.audit.frameworks import TRAINERS, with_defaults
from stages.audit.loads import goes_on_by_itself, on_load
from stages.audit.recipe import Stage, Value, counted

MOST_SIZES = 10_000  # of a batch ramp: no ramp has more
_STEP = re.compile(
    r"(?:step|iter|checkpoint|global_step|ckpt)[-_]?0*(\d+)(?:_tp\d+|-hf|-unsharded)?/?$|(?:^|/)0*(\d{2,})/?$"
)


def settled(stage: Stage) -> Stage:
    """The stage with defaults, and with every figure that its own figures decide."""
    stage = with_defaults(stage)
    for name, derive in (
        ("replicas", _replicas), ("batch", _batch), ("steps", _steps), ("stop_step", _stop), ("wsd_steps", _tail),
        ("load_step", _load_step), ("min_lr", _min_lr), ("decay_steps", _decay_steps), ("warmup_steps", _warmup),
        ("tokens", _tokens), ("head_dim", _head_dim),
        ("expert_ffn", _expert_ffn),
    ):  # fmt: skip
        found = derive(stage)
        if found is not None and stage.get(name) is None and (name not in stage.values or name == "min_lr"):
            stage = replace(stage, values={**stage.values, name: found})
    return stage


def _made(stage: Stage, value: int | float | None, *of: str) -> Value | None:
    """A derived value, at the place of the first figure that it is made of."""
    return None if value is None else Value(value, stage.at(*of), " and ".join(of), derived=True)


def _replicas(stage: Stage) -> Value | None:
    parts = [stage.count(name) or 1 for name in ("tp", "pp", "cp")]
    world, size = stage.count("world"), math.prod(parts)
    whole = world is not None and size > 0 and world % size == 0
    return _made(stage, world // size if world and whole else None, "world", "tp", "pp", "cp")


def _batch(stage: Stage) -> Value | None:
    """Sequences of a step."""
    tokens, context = stage.count("batch_tokens"), stage.count("context")
    if tokens is not None and context:
        return _made(stage, tokens // context, "batch_tokens", "context")
    product = counted(stage.count(name) for name in ("micro_batch", "accumulation", "replicas"))
    return _made(stage, product, "micro_batch", "accumulation")


def _steps(stage: Stage) -> Value | None:
    samples = stage.count("samples")
    if samples is not None:
        return _made(stage, steps_of(stage, samples), "samples", "batch")
    budget, size = stage.count("budget_tokens"), stage.count("batch_tokens")
    return _made(stage, -(-budget // size) if budget is not None and size else None, "budget_tokens", "batch_tokens")


def steps_of(stage: Stage, samples: int) -> int | None:
    """Whole steps that so many samples make; with a batch ramp, as Megatron-LM's num_microbatches_calculator counts."""
    batch = stage.count("batch")
    if not batch:
        return None
    if "ramp" not in stage.values:
        return samples // batch
    sizes = ramp_of(stage)
    if sizes is None:
        return None
    steps = consumed = 0
    for (_, size), (after, _) in itertools.pairwise(sizes):
        more = max(0, -(-(min(samples, after) - consumed) // size))
        steps, consumed = steps + more, consumed + more * size
    return steps + max(0, samples - consumed) // batch


def ramp_of(stage: Stage) -> list[tuple[int, int]] | None:
    """The sizes of a batch that grows, each with the samples after which it begins; None for a ramp that is none."""
    ramp, batch = stage.get("ramp"), stage.count("batch")
    figures = [one for one in ramp if isinstance(one, int)] if isinstance(ramp, tuple) else []
    if len(figures) != 3 or figures[0] < 1 or figures[1] < 1 or batch is None:
        return None
    start, increment, over = figures
    if not 0 <= batch - start <= MOST_SIZES * increment:
        return None
    sizes = (batch - start) // increment
    grown = [(-(-over * number // sizes), start + number * increment) for number in range(sizes)]
    return [*grown, (over if sizes else 0, batch)]


def _stop(stage: Stage) -> Value | None:
    """The step of a stop that is stated in tokens, or at which a launch that begins at the first step exits."""
    every, steps, loads = stage.count("exit_every"), stage.count("steps"), on_load(stage)
    if every and steps and every < steps and (loads is None or not loads.step) and not goes_on_by_itself(stage):
        return _made(stage, every, "exit_every")
    tokens, size = stage.count("stop_tokens"), stage.count("batch_tokens")
    return _made(stage, -(-tokens // size) if tokens is not None and size else None, "stop_tokens", "batch_tokens")


def _tail(stage: Stage) -> Value | None:
    """The steps of a decay that is stated as a share of the run's."""
    share, steps = stage.number("wsd_fraction"), stage.count("steps")
    return _made(stage, round(steps * share) if steps is not None and share is not None else None, "wsd_fraction")


def _load_step(stage: Stage) -> Value | None:
    """The step in the name of the checkpoint that is loaded; a Trainer's weights come from such a folder too."""
    name = "pretrained" if stage.framework in TRAINERS and "load" not in stage.values else "load"
    match = _STEP.search(stage.text(name) or "")
    return _made(stage, int(match[1] or match[2]) if match else None, name)


def _min_lr(stage: Stage) -> Value | None:
    lr, ratio = stage.number("lr"), stage.number("min_lr_ratio")
    return _made(stage, lr * ratio if lr is not None and ratio is not None else None, "min_lr_ratio", "lr")


def _decay_steps(stage: Stage) -> Value | None:
    """The step at which the rate is at its smallest, counted from the run's first."""
    samples = stage.count("decay_samples")
    if samples is not None:
        return _made(stage, steps_of(stage, samples), "decay_samples", "batch")
    return _made(stage, stage.count("steps"), "steps")


def _warmup(stage: Stage) -> Value | None:
    fraction, samples = stage.number("warmup_fraction"), stage.count("warmup_samples")
    if samples is not None:
        return _made(stage, steps_of(stage, samples), "warmup_samples", "batch")
    over = stage.count("steps" if stage.framework in TRAINERS else "decay_steps")
    product = None if fraction is None or over is None else fraction * over
    rounded = None if product is None else math.ceil(product) if stage.framework in TRAINERS else int(product)
    return _made(stage, rounded, "warmup_fraction")


def _tokens(stage: Stage) -> Value | None:
    """Positions that the run trains on, from the step that it begins at."""
    first, steps = first_step(stage), last_step(stage)
    if first is None or steps is None:
        return None
    if batches_differ(stage):
        whole = counted([stage.count("samples"), stage.count("context")])
        return _made(stage, whole if first == 0 else None, "samples", "context")
    product = counted([max(0, steps - first), stage.count("batch"), stage.count("context")])
    return _made(stage, product, "steps", "batch", "context")


def _head_dim(stage: Stage) -> Value | None:
    hidden, heads = stage.count("hidden"), stage.count("heads")
    return _made(stage, hidden // heads if hidden and heads and hidden % heads == 0 else None, "hidden", "heads")


def _expert_ffn(stage: Stage) -> Value | None:
    """Megatron's experts are as wide as its dense layers, unless they are stated."""
    routed = stage.framework.startswith("megatron") and "experts" in stage.values
    return _made(stage, stage.count("ffn") if routed else None, "ffn")


def may_stop_before(stage: Stage, end: int) -> bool:
    """Whether a launch exits at steps before its end: how often it was started again is then not in the text."""
    every = stage.count("exit_every")
    return every is not None and 0 < every < end and "stop_step" not in stage.values


def batches_differ(stage: Stage) -> bool:
    """Whether the batch grows during the run: its last size times the steps is then not what is trained."""
    return bool({"ramp", "batch_schedule"} & set(stage.values))


def saved_every(stage: Stage) -> int | None:
    """The steps between checkpoints; None where they are unknown, or where a Trainer saves at other times."""
    return stage.count("save_every") if stage.get("save_strategy") in {None, "steps"} else None


def first_step(stage: Stage) -> int | None:
    """The step that the run begins at: the loaded one where the framework restores it. None where it is unknown."""
    loads = on_load(stage)
    if loads is None or not loads.step:
        return 0
    return stage.count("load_step")


def last_step(stage: Stage) -> int | None:
    """The step that the run ends at: its length, or a stop before."""
    steps, stop = stage.count("steps"), stage.count("stop_step")
    if "stop_step" in stage.values and stop is None:
        return None
    if stop is not None and "steps" not in stage.values:
        return stop  # of a run whose length is in epochs
    return min(steps, stop) if steps is not None and stop is not None else steps
