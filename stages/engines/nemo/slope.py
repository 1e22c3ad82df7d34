"""Before a run's first step: gradients of Megatron's backward pass, compared with the logits of a forward pass.

Logits are linear in the gain g of the last norm. So where a loss is the mean of -log p of all targets,

    <g, dloss/dg> = mean of (sum_v p_v z_v - z_target), with the logits z and their softmax p,

and the right side needs no gradient. A loss of another scale, another divisor, a sum over replicas, context-parallel
ranks or micro-batches that leaves some out or has some twice: all of them move the left side alone. The targets are
other words than the data's, since both sides are near 0 for a model that has learnt those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from stages.data.sample import Sample
from stages.engines.nemo.divided import Divided
from stages.engines.nemo.local import GRADIENT, Owned
from stages.errors import UserError
from stages.models.ops.labels import IGNORED
from stages.spec.resolved import Stage
from stages.spec.resolved_models import LANGUAGE_MODELS
from stages.spec.resolved_parallel import computes_in_bf16
from stages.spec.resolved_phases import Phase
from stages.train.ranks import Ranks

GAIN = "decoder.final_layernorm.weight"
FP32, BF16 = 1e-4, 3e-2  # of the terms' mean size; rounding makes 2e-8 and 9e-4 on a CPU


class WrongGradientsError(UserError):
    """Gradients are not those of the loss; nothing was updated."""

    repeats = True


def applies(stage: Stage, phase: Phase) -> bool:
    """Whether the phase's loss is such a mean, and has a gradient there."""
    trained = any(stage.modules[name].family in LANGUAGE_MODELS for name in stage.trained)
    return trained and phase.preference is None and phase.loops is None


def retargeted(samples: Sequence[Sample], vocab: int) -> list[Sample]:
    """The same rows with other targets in the same places."""
    return [
        replace(one, labels=np.where(one.labels == IGNORED, IGNORED, (one.labels + vocab // 2) % vocab))
        for one in samples
    ]


@torch.no_grad()
def check(
    stage: Stage, phase: Phase, samples: Sequence[Sample], model: Divided, parameters: Sequence[Owned], ranks: Ranks
) -> None:
    """Raise WrongGradientsError, on all ranks, where the two sides differ by more than rounding.

    The gradients are those of these samples, once the backward pass is finished.
    """
    found = _along_gain(parameters, ranks)
    with model.evaluating():
        terms = torch.cat([part for part, _ in model.slopes(samples, phase)])
    wanted, size = float(terms.mean()), float(terms.abs().mean())
    if abs(found - wanted) > (BF16 if computes_in_bf16(stage.engine_class) else FP32) * size:
        raise WrongGradientsError(
            f"{stage.ref}, phase {phase.name}: Megatron's gradient along the gain of the last norm is {found:.6g}; "
            f"allowed: {wanted:.6g}, as its logits say. A sum over ranks or a divisor is another one. Nothing was "
            "updated. Run with the versions that `make nemo` installs, without plugins."
        )


def _along_gain(parameters: Sequence[Owned], ranks: Ranks) -> float:
    """<g, dloss/dg>, on every rank. Ranks of the last pipeline stage have all of it, or a range each."""
    own = [
        [one.start, one.stop, float(one.tensor.view(-1)[one.start : one.stop].float() @ one.flat(GRADIENT))]
        for one in parameters
        if one.placed.key == GAIN
    ]
    ranges = {(start, stop): dot for theirs in ranks.values(own) for start, stop, dot in theirs}
    return sum(ranges.values())
