"""Figures that no run has: counts of nothing, rates and betas out of their bounds."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stages.audit.finding import stage_rule
from stages.audit.recipe import Fault, Stage, is_number, number

_COUNTS = ("steps", "samples", "batch", "batch_tokens", "micro_batch", "micro_tokens", "accumulation", "context",
           "layers", "hidden", "ffn", "heads", "kv_heads", "vocab", "tp", "pp", "cp", "ep")  # fmt: skip
_BOUNDS = {"lr": (0.0, 0.1), "clip": (0.0, 20.0), "weight_decay": (0.0, 1.0), "beta1": (0.0, 0.9999),
           "beta2": (0.0, 0.99999), "eps": (0.0, 1e-3), "warmup_fraction": (0.0, 1.0),
           "adapter_dropout": (0.0, 1.0)}  # fmt: skip
# Frameworks that take a plain number for each of these, without a unit.
_PLAIN = frozenset({"megatron-lm", "transformers", "llama-factory", "axolotl"})
_MISTYPED = re.compile(r"[+-]?[\d.][\w.,+-]*", re.ASCII)
_DECOUPLED = 0.01  # of Composer's decoupled optimizers: its recipes have 0 to 1e-4
_CLIPS_TO_ZERO = frozenset({"torchtitan", "olmo-core", "nanotron"})  # torch's clip_grad_norm_ takes 0 as a limit
_FROM_MACHINES = -1  # of torchtitan and nanotron: what follows from the other figures


@stage_rule("no-number", "I-05", "A figure that is no number")
def no_number(stage: Stage) -> Iterator[Fault]:
    """A slip of the keyboard, such as 3e-4x or 1O24: what has digits and units of no framework of these."""
    for name in (*_COUNTS, *_BOUNDS) if stage.framework in _PLAIN else ():
        text = stage.text(name)
        if text is not None and stage.stated(name) and _MISTYPED.fullmatch(text) and number(text) is None:
            yield stage.fault(name, f"{stage.values[name].key} {text}", "a number", "the launch stops")


@stage_rule("count-impossible", "I-43", "A count that no run has")
def counts(stage: Stage) -> Iterator[Fault]:
    """Sizes of batches, models and layouts are whole and above 0."""
    for name in _COUNTS:
        value = stage.get(name)
        if not stage.stated(name) or not is_number(value) or value == _FROM_MACHINES:
            continue
        if value < 1 or value != int(value):
            where, key = stage.values[name].where, stage.values[name].key
            yield Fault(stage, where, f"{key} {value}", "a whole number above 0", "the launch stops")


@stage_rule("rate-impossible", "I-48", "A figure of the optimizer that no recipe has")
def impossible(stage: Stage) -> Iterator[Fault]:
    """A digit too many or two figures exchanged; the bounds are those of I-48."""
    for name, (low, high) in _BOUNDS.items():
        value = stage.number(name)
        if value is not None and stage.stated(name) and not low <= value <= high:
            yield stage.fault(
                name,
                f"{name} {value:g}",
                f"{low:g} to {high:g}",
                "the launch stops" if name == "warmup_fraction" else "the run diverges or stands still",
            )
    yield from _decoupled(stage)
    if stage.number("clip") == 0 and stage.framework in _CLIPS_TO_ZERO:
        yield stage.fault(
            "clip",
            "a limit of 0 for the norm of gradients",
            "a limit above 0",
            "every gradient is multiplied by 0",
            stage.count("tokens"),
        )
    beta1, beta2 = stage.number("beta1"), stage.number("beta2")
    if beta1 is not None and beta2 is not None and beta1 > beta2:
        yield stage.fault(
            ("beta2", "beta1"),
            f"beta1 {beta1:g} above beta2 {beta2:g}",
            "beta1 at most beta2",
            "the two betas are exchanged",
        )


def _decoupled(stage: Stage) -> Iterator[Fault]:
    """A decay of Composer's decoupled optimizers that is one of AdamW's."""
    decay = stage.number("weight_decay")
    if decay is not None and decay > _DECOUPLED and str(stage.text("optimizer")).startswith("decoupled_"):
        yield stage.fault(
            "weight_decay",
            f"weight_decay {decay:g} of {stage.get('optimizer')}",
            f"at most {_DECOUPLED:g}",
            "it is not multiplied by the rate: weights lose this share of themselves in each step at the peak",
            stage.count("tokens"),
        )
