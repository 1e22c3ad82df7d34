"""Before a phase's first step: gradients of Megatron's backward pass, compared with the logits of a forward pass.

Logits z are linear in some parameters w: in the gain of the last norm and, with loops, where that gain is in what the
next loop begins with, in the output matrix. So where a loss is a sum of c_i (-log p_i) over targets i,

    <w, dloss/dw> = sum of c_i (sum_v p_v z_v - z_target),

with the softmax p of the logits, and the right side needs no gradient. c_i is 1 / targets; with preferences it is what
the answer's log-probability counts; with loops the probability of leaving there, whose own gates are linear too. A loss
of another scale, another divisor, a sum over replicas, context-parallel ranks or micro-batches that leaves some out or
has some twice: all of them move the left side alone.

The rows are those of `probe`: two micro-batches of each replica, so this takes a small part of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from stages.contract import numbers
from stages.data.loading.sample import Sample
from stages.engines.nemo import families, probe
from stages.engines.nemo.config.model import language_model
from stages.engines.nemo.data import Share
from stages.engines.nemo.divided import Divided
from stages.engines.nemo.local import GRADIENT, Owned
from stages.engines.nemo.optimizer import Mover
from stages.engines.nemo.step import Steps
from stages.errors import UserError
from stages.guards.phase_log import Rows
from stages.spec.resolved import Stage
from stages.spec.resolved_models import LANGUAGE_MODELS
from stages.spec.resolved_parallel import computes_in_bf16
from stages.spec.resolved_phases import Phase
from stages.train.objectives.preference import answers, of_losses
from stages.train.ranks import Ranks

GAIN = ("decoder.final_layernorm.weight",)
HEAD = ("output_layer.weight", "early_exit_gate.weight", "early_exit_gate.bias")  # with loops
FP32, BF16 = 1e-4, 3e-2  # of the terms' mean size
MICROS = 2  # of each replica


class WrongGradientsError(UserError):
    """Gradients are not those of the loss; nothing was updated."""

    repeats = True


def applies(stage: Stage, phase: Phase) -> bool:
    """Whether such parameters are trained: with loops and tied embeddings no logit is linear in any."""
    trained = any(stage.modules[name].family in LANGUAGE_MODELS for name in stage.trained)
    return trained and (phase.loops is None or not language_model(stage).tied)


def check(
    stage: Stage, phase: Phase, chunks: list[Any], reference: list[Any], moved: Mover, rows: Rows, ranks: Ranks
) -> None:
    """Raise WrongGradientsError, on all ranks, where the two sides differ by more than rounding. Nothing is moved."""
    if not applies(stage, phase):
        return
    model = Divided(stage, chunks, ranks)
    shape = probe.shaped(phase, model)
    samples = probe.rows(stage, shape, MICROS * shape.micro_batch * Share.here().replicas)
    work = families.training(stage, shape, chunks, reference)
    with closing(Steps(stage, shape, chunks, moved, work, rows, ranks)) as steps:
        steps.differentiate(samples)
    names = GAIN if phase.loops is None else HEAD
    found = _along([one for one in moved.owned if one.placed.key in names], ranks)
    with model.evaluating():
        terms, usual = _terms(model, shape, samples, Divided(stage, reference, ranks) if reference else None)
    wanted, size = float(terms.sum()), float(usual.abs().sum())
    if max(abs(one - wanted) for one in found) > (BF16 if computes_in_bf16(stage.engine_class) else FP32) * size:
        shown = " to ".join(dict.fromkeys(f"{one:.6g}" for one in found))
        raise WrongGradientsError(
            f"{stage.ref}, phase {phase.name}: Megatron's gradient along {', '.join(names)} is {shown}; "
            f"allowed: {wanted:.6g}, as its logits say. A sum over ranks or a divisor is another one. Nothing was "
            "updated. Run with the versions that `make nemo` installs, without plugins."
        )


def _along(parameters: Sequence[Owned], ranks: Ranks) -> tuple[float, float]:
    """<w, dloss/dw> by the ranks that have the least of each part of it, and by those that have the most."""
    own = [
        [
            [one.placed.key, one.part, one.start, one.stop],
            float(one.tensor.view(-1)[one.start : one.stop].float() @ one.flat(GRADIENT)),
        ]
        for one in parameters
    ]
    parts: dict[tuple[Any, ...], list[float]] = {}
    for theirs in ranks.values(own):
        for part, dot in theirs:
            parts.setdefault(tuple(part), []).append(dot)
    return sum(map(min, parts.values())), sum(map(max, parts.values()))


@torch.no_grad()
def _terms(model: Divided, shape: Phase, samples: Sequence[Sample], reference: Divided | None) -> tuple[Tensor, Tensor]:
    """What adds up to the right side, of each target or answer; and the same by which its rounding is measured: of
    preferences, what it is while policy and reference are one. Later a sigmoid may be near its end, where rounding of
    the answers' probabilities is a larger part of it.
    """
    slopes = model.slopes(samples, shape)
    if shape.loops is not None:
        of_loops = _of_loops(slopes, model.by_loop(samples, shape), model.gates(samples, shape), shape)
        return of_loops, of_loops
    if shape.preference is None or reference is None:
        each = slopes[0] / slopes.shape[1]
        return each, each
    settings, lengths = shape.preference, [length for one in samples for length in answers(one)]
    policy, other = (_by_answer(one.by_loop(samples, shape)[0], lengths) for one in (model, reference))
    counts, along = torch.tensor(lengths, dtype=torch.float64), _by_answer(slopes[0], lengths)
    found, first = (of_losses(one, other, counts, settings).weights.flatten() * along for one in (policy, other))
    return 2 * found / len(lengths), 2 * first / len(lengths)


def _by_answer(values: Tensor, lengths: Sequence[int]) -> Tensor:
    return torch.stack([one.sum() for one in values.split(list(lengths))])


def _of_loops(slopes: Tensor, losses: Tensor, gates: Tensor, shape: Phase) -> Tensor:
    """All fp64 [loops, n]: what the loss takes of each loop's loss and of its gate's logit."""
    from stages.engines.nemo.ouro import looped_loss

    beta = numbers.value(shape.loops.beta, None) if shape.loops is not None else 0.0
    with torch.enable_grad():
        losses, gates = losses.requires_grad_(), gates.requires_grad_()
        total = looped_loss(losses, gates, torch.ones_like(losses[0]), beta)[0] / losses.shape[1]
        # Of one loop alone no gate is asked.
        of_losses, of_gates = torch.autograd.grad(total, (losses, gates), materialize_grads=True)
    return (of_losses * slopes + of_gates * gates).sum(0)
