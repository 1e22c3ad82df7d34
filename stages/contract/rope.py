"""Rotary frequencies: base, then Llama 3.1's scaling, then position interpolation, or YaRN; float64 throughout."""

from __future__ import annotations

import math

from stages.spec.resolved_models import Llama3Scaling, Rope, Yarn


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
    if rope.yarn is not None:
        kept = _yarn_kept(rope.yarn, rope.base, dim)
        frequencies = [f / rope.yarn.factor * (1 - k) + f * k for f, k in zip(frequencies, kept, strict=True)]
    return [frequency / rope.interpolation for frequency in frequencies]


def is_scaled(rope: Rope) -> bool:
    """Whether positions are anything but those of the base."""
    return rope.llama3 is not None or rope.yarn is not None or rope.interpolation != 1.0


def attention_factor(rope: Rope) -> float:
    """What rotated queries and keys are multiplied by, each of them, so that their product has its square.

    YaRN: the one that is stated; else the ratio of both mscales where both are; else sqrt(1/t) = 0.1 ln(factor) + 1
    (arXiv 2309.00071, equation 22). 1 without YaRN.
    """
    yarn = rope.yarn
    if yarn is None:
        return 1.0
    if yarn.attention_factor is not None:
        return yarn.attention_factor
    if yarn.mscale is not None and yarn.mscale_all_dim is not None:
        return _mscale(yarn.factor, yarn.mscale) / _mscale(yarn.factor, yarn.mscale_all_dim)
    return _mscale(yarn.factor, 1.0)


def score_factor(rope: Rope) -> float:
    """What latent attention's scores are multiplied by, besides 1/sqrt(width), in whole and not in their rotated part.

    DeepSeek's use of YaRN (transformers' modeling_deepseek_v3.py): the square of `mscale_all_dim`'s factor, 1 without.
    """
    yarn = rope.yarn
    return 1.0 if yarn is None or yarn.mscale_all_dim is None else _mscale(yarn.factor, yarn.mscale_all_dim) ** 2


def multiplied(rope: Rope) -> bool:
    """Whether positions multiply queries, keys or scores, besides turning queries and keys."""
    return attention_factor(rope) != 1.0 or score_factor(rope) != 1.0


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


def bands(scaling: Llama3Scaling | Yarn, base: float, dim: int) -> tuple[int, int, int]:
    """How many pairs a scaling leaves alone, blends, and divides by its full factor."""
    counts = [0, 0, 0]
    if isinstance(scaling, Yarn):
        for kept in _yarn_kept(scaling, base, dim):
            counts[0 if kept == 1 else 2 if kept == 0 else 1] += 1
        return counts[0], counts[1], counts[2]
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


def _yarn_kept(yarn: Yarn, base: float, dim: int) -> list[float]:
    """The share of each pair's frequency that stays: 1 for fast pairs, 0 for slow ones (arXiv 2309.00071, section 3.2).

    The ramp runs over the numbers of the pairs, as in the authors' code and in transformers, not over their turns.
    """
    low, high = (
        dim * math.log(yarn.original / (turns * 2 * math.pi)) / (2 * math.log(base))
        for turns in (yarn.beta_fast, yarn.beta_slow)
    )
    if yarn.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    width = high - low or 0.001  # transformers' way around a division by zero
    return [1 - min(1.0, max(0.0, (pair - low) / width)) for pair in range(dim // 2)]


def _mscale(factor: float, weight: float) -> float:
    """0.1 * weight * ln(factor) + 1."""
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1
