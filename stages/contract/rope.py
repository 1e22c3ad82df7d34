"""Rotary frequencies: base, then Llama 3.1's scaling, then position interpolation; float64 throughout."""

from __future__ import annotations

import math

from stages.spec.resolved_models import Llama3Scaling, Rope


def inv_freq(rope: Rope, dim: int) -> list[float]:
    """Radians per position of the dim/2 rotated pairs, fastest first (RoFormer, arXiv 2104.09864, section 3.2.2).

    Position interpolation (Chen et al. 2023, arXiv 2306.15595) divides every position by `rope.interpolation`,
    which is the same as dividing every frequency.
    """
    if dim <= 0 or dim % 2:
        raise ValueError(f"rotary dimension must be even and positive, not {dim}")
    frequencies = [rope.base ** (-2 * pair / dim) for pair in range(dim // 2)]
    if rope.llama3 is not None:
        frequencies = [_llama3(frequency, rope.llama3) for frequency in frequencies]
    return [frequency / rope.interpolation for frequency in frequencies]


def wavelengths(rope: Rope, dim: int) -> list[float]:
    """Positions per full turn of each pair, shortest first."""
    return [2 * math.pi / frequency for frequency in inv_freq(rope, dim)]


def longest_wavelength(rope: Rope, dim: int) -> float:
    """Positions per full turn of the slowest pair, after all scaling."""
    return max(wavelengths(rope, dim))


def longrope_factors(rope: Rope, dim: int) -> list[float]:
    """Per-pair divisors by which transformers' rope_type "longrope" gives these same frequencies.

    transformers knows no llama3 scaling with interpolation on top; longrope (LongRoPE, arXiv 2402.13753) with these
    factors, the same base and attention_factor 1 expresses it.
    """
    plain = Rope(base=rope.base, llama3=None, interpolation=1.0)
    return [unscaled / scaled for unscaled, scaled in zip(inv_freq(plain, dim), inv_freq(rope, dim), strict=True)]


def bands(scaling: Llama3Scaling, base: float, dim: int) -> tuple[int, int, int]:
    """How many pairs Llama 3.1's scaling leaves alone, blends, and divides by its full factor."""
    counts = [0, 0, 0]
    for pair in range(dim // 2):
        turns = scaling.original * base ** (-2 * pair / dim) / (2 * math.pi)
        counts[0 if turns > scaling.high else 2 if turns < scaling.low else 1] += 1
    return counts[0], counts[1], counts[2]


def _llama3(frequency: float, scaling: Llama3Scaling) -> float:
    """Llama 3.1's blend between no scaling (fast pairs) and division by the factor (slow pairs); Llama 3.1 config."""
    turns = scaling.original * frequency / (2 * math.pi)  # full turns over the original context
    if turns > scaling.high:
        return frequency
    if turns < scaling.low:
        return frequency / scaling.factor
    smooth = (turns - scaling.low) / (scaling.high - scaling.low)
    return (1 - smooth) * frequency / scaling.factor + smooth * frequency
