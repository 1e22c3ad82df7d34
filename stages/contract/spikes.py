"""Steps that are skipped because their gradient's norm stands out of those before it: a rule of the optimizer.

Whether a step is skipped follows from the norms of the steps before it alone, which a checkpoint keeps: a run that goes
on skips what an undisturbed one skips.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stages.spec.resolved_training import Skip


@dataclass(frozen=True)
class Skips:
    """The norms of the last steps, the skipped ones among them, and how many steps of the stage were skipped."""

    norms: tuple[float, ...] = ()
    skipped: int = 0

    def after(self, norm: float, skipped: bool, rule: Skip) -> Skips:
        """With one step more."""
        return Skips((*self.norms, norm)[-rule.window :], self.skipped + skipped)


def half(rule: Skip) -> int:
    """How many norms there have to be before a step is skipped."""
    return max(2, rule.window // 2)


def spike(norms: Sequence[float], norm: float, rule: Skip) -> bool:
    """Whether `norm` is more than `sigmas` standard deviations (of a sample) above the mean of the norms before it.

    Never before half of the window is there, nor of fewer than two. As OLMo-core's SkipStepOptimizer
    (allenai/OLMo-core, src/olmo_core/optim/skip_step_optimizer.py), of the norm alone.
    """
    if len(norms) < half(rule):
        return False
    mean = math.fsum(norms) / len(norms)
    deviation = math.sqrt(math.fsum((one - mean) ** 2 for one in norms) / (len(norms) - 1))
    return norm - mean > rule.sigmas * deviation
