"""How tokens are drawn, as a command states it. It needs no torch, so that a mistake is answered before that loads."""

from __future__ import annotations

import math
from dataclasses import dataclass

from stages.errors import UsageError


@dataclass(frozen=True)
class Sampling:
    """Scores are divided by the temperature; a token is one of the likeliest that come to `top_p` together."""

    temperature: float
    top_p: float
    seed: int


def sampling(temperature: float | None, top_p: float | None, seed: int | None) -> Sampling | None:
    """What the options say; None for greedy text. Raises UsageError where they do not say it in full."""
    if temperature is None:
        for name, value in (("--top-p", top_p), ("--seed", seed)):
            if value is not None:
                raise UsageError(f"{name}: found {value} without --temperature; allowed: both, or neither (greedy).")
        return None
    if not (math.isfinite(temperature) and temperature > 0):
        raise UsageError(f"--temperature: found {temperature}; allowed: more than 0. Leave it out for greedy text.")
    if top_p is not None and not 0 < top_p <= 1:
        raise UsageError(f"--top-p: found {top_p}; allowed: more than 0, at most 1.")
    if seed is None or not 0 <= seed < 2**63:
        found = "nothing" if seed is None else seed
        raise UsageError(f"--seed: found {found}; allowed: 0 to 2^63 - 1, with --temperature.")
    return Sampling(temperature, 1.0 if top_p is None else top_p, seed)
