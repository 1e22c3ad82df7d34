"""Shapes of schedules that need more than fractions, to 30 digits: unlike libm's, the same on every machine.

Each leads from `first` to `last` over `progress` 0..1, has exactly these values at its ends, and scales with them, so
that a scale's factor moves the whole curve.
"""

from __future__ import annotations

from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from fractions import Fraction

PI = Decimal("3.14159265358979323846264338327950288419716939937510")
DIGITS = 40
_CONTEXT = Context(prec=DIGITS, Emax=MAX_EMAX, Emin=MIN_EMIN)  # an exponent of 0.1 raises a ratio to its tenth power

# Falls as a power of the tokens, or by a constant factor per token: neither ever comes to 0.
FALLING = frozenset({"inverse_sqrt", "power"})
POSITIVE = FALLING | {"exponential"}


def named(shape: str) -> str:
    """A piece in words: "a linear piece"."""
    return f"{'an' if shape[0] in 'aeio' else 'a'} {shape} piece"


def cosine(first: Fraction, last: Fraction, progress: Fraction) -> Fraction:
    """last + (first - last) (1 + cos(pi progress)) / 2: Loshchilov & Hutter 2016 (arXiv 1608.03983, eq. 5)."""
    if progress in (0, 1):
        return last if progress else first
    return last + (first - last) * (1 + _cosine_of_pi(progress)) / 2


def one_minus_sqrt(first: Fraction, last: Fraction, progress: Fraction) -> Fraction:
    """last + (first - last) (1 - sqrt(progress)): the cooldown of Hägele et al. 2024 (arXiv 2405.18392)."""
    if progress in (0, 1):
        return last if progress else first
    return last + (first - last) * (1 - Fraction(_CONTEXT.sqrt(_decimal(progress))))


def power_law(first: Fraction, last: Fraction, progress: Fraction, exponent: Fraction) -> Fraction:
    """c (t + t0)^-exponent through both ends: the power law of arXiv 2408.13359; 1/2 is the inverse root.

    The inverse root from the peak at the end of a warm-up of w to peak * sqrt(w / T) at T is that of Vaswani et al.
    2017 (arXiv 1706.03762, eq. 3). Both rates are above 0.
    """
    if progress in (0, 1):
        return last if progress else first
    grown = _power(first / last, 1 / exponent)  # (T + t0) / t0
    return first / _power(1 + progress * (grown - 1), exponent)


def exponential(first: Fraction, last: Fraction, progress: Fraction) -> Fraction:
    """first (last / first)^progress: the same factor for every token. Both rates are above 0."""
    if progress in (0, 1):
        return last if progress else first
    return first * _power(last / first, progress)


def _cosine_of_pi(progress: Fraction) -> Fraction:
    """cos(pi * progress) by its Taylor series."""
    with localcontext(_CONTEXT):
        x = PI * progress.numerator / progress.denominator
        term = total = Decimal(1)
        k = 0
        while abs(term) > Decimal(10) ** -(DIGITS - 5):
            k += 2
            term = -term * x * x / (k * (k - 1))
            total += term
        return Fraction(total)


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    return Fraction(_CONTEXT.exp(_CONTEXT.multiply(_CONTEXT.ln(_decimal(base)), _decimal(exponent))))


def _decimal(value: Fraction) -> Decimal:
    return _CONTEXT.divide(Decimal(value.numerator), Decimal(value.denominator))
