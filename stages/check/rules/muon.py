"""Muon's own figures, next to those that recipes have: a part of I-48."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from stages.check.facts import Fact
from stages.contract.numbers import settled
from stages.spec.resolved_training import Muon

# Muon's momentum is 0.95 (Jordan et al. 2024; arXiv 2502.16982, section 2.1), 0.85 where it is warmed up.
LOWEST_MOMENTUM = 0.5
# arXiv 2502.16982, section 2.2: updates of AdamW have a root mean square of 0.2 to 0.4, and Muon's are made as large.
# One of 1 is that of signs alone.
LOWEST_RMS, HIGHEST_RMS = 0.05, 1.0
# Without that factor an orthogonal update of a matrix of n columns has one of 1 / sqrt(n), and Jordan et al. have rates
# of 0.02 for it: 4e-4 at 2,048 columns.
LOWEST_STEP = Fraction(1, 10_000)
# Singular values of a gradient's mean, divided by their norm, and what has to come of each: Jordan et al. bring 0.03 to
# 1 between 0.7 and 1.2 in five steps, and 1.5, -0.5, 0 do in ten.
SINGULAR = (0.03, 0.1, 0.3, 0.7, 1.0)
LEAST_SINGULAR, MOST_SINGULAR = 0.5, 1.5

Fault = tuple[str, Fact, str, str, str]  # key, fact, found, expected, repair


def faults(cfg: Muon, rate: Fraction) -> Iterator[Fault]:
    """What of Muon's figures no recipe has; `rate` is the highest that it is given."""
    reached = settled(cfg.momentum)  # one that is warmed up may begin below
    if reached < LOWEST_MOMENTUM:
        found = f"momentum {reached:g}"
        expected = f"at least {LOWEST_MOMENTUM:g}: what is orthogonalised is a mean of gradients; recipes have 0.95"
        yield "momentum", found, found, expected, "Correct it."
    small = cfg.update_rms < LOWEST_RMS and rate * Fraction(cfg.update_rms) < LOWEST_STEP
    if small or cfg.update_rms > HIGHEST_RMS:
        found = f"update_rms {cfg.update_rms:g}" + (f" at rates up to {float(rate):g}" if small else "")
        expected = (
            f"{LOWEST_RMS:g} to {HIGHEST_RMS:g}: AdamW's updates have 0.2 to 0.4, so that its rate serves Muon too; "
            f"or a rate with which their product is {float(LOWEST_STEP):g} or more"
        )
        yield "update_rms", found, found, expected, "Correct it; how far a step goes is the learning rate's."
    values = [_iterated(cfg, value) for value in SINGULAR]
    if not all(LEAST_SINGULAR <= value <= MOST_SINGULAR for value in values):
        one, value = next(
            pair for pair in zip(SINGULAR, values, strict=True) if not LEAST_SINGULAR <= pair[1] <= MOST_SINGULAR
        )
        found = f"singular values of {one:g} that become {value:.3g} in {cfg.newton_schulz_steps} steps"
        expected = f"{LEAST_SINGULAR:g} to {MOST_SINGULAR:g}: the update is orthogonalised"
        repair = "Correct the coefficients (3.4445, -4.7750, 2.0315 is Jordan et al.'s) or the number of steps (5)."
        yield "newton_schulz", f"{value:.3g}", found, expected, repair


def _iterated(cfg: Muon, value: float) -> float:
    """What a singular value becomes; none is followed beyond 1e3."""
    a, b, c = cfg.newton_schulz
    for _ in range(cfg.newton_schulz_steps):
        value = max(-1e3, min(1e3, a * value + b * value**3 + c * value**5))
    return value
