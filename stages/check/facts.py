"""What a finding found, as a value: what a waiver names in `found:`, and how much of it a waiver excuses.

A fact is one number (the larger, the worse), a step from one number to another, or a word. Numbers are those of full
size wherever a scale derives its own from them by a factor, so that one waiver serves every scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction

from stages.spec import quantities, units

Fact = Fraction | tuple[Fraction, Fraction] | str
ARROW = " -> "
AMPLE = 2  # a waiver may excuse so many times what is found: a rate can be lowered without touching it
SLACK = Fraction(1, 10**5)  # figures are written in six digits


def write(fact: Fact) -> str:
    """A fact as specs write it: `1Mi`, `1.04`, `1e-4 -> 4.2e-5`, `false`."""
    match fact:
        case Fraction():
            return _number(fact)
        case (before, after):
            return _number(before) + ARROW + _number(after)
        case str():
            return " ".join(fact.split())


def read(text: str) -> Fact:
    """The fact that is written; what is neither a number nor a step is a word."""
    numbers = [_read_number(part) for part in text.split(ARROW)]
    match numbers:
        case [Fraction() as one]:
            return one
        case [Fraction() as before, Fraction() as after]:
            return before, after
        case _:
            return " ".join(text.split())


def within(found: str, excused: str) -> bool:
    """Whether what was found is no more than what is excused.

    A number may be smaller. A step may be a part of the excused one in the same direction. A word is the same word.
    """
    match read(found), read(excused):
        case Fraction() as one, Fraction() as most:
            return one * most >= 0 and abs(one) <= abs(most) * (1 + SLACK)
        case (Fraction() as a, Fraction() as b), (Fraction() as c, Fraction() as d):
            low, high = min(c, d), max(c, d)
            inside = low * (1 - SLACK) <= min(a, b) and max(a, b) <= high * (1 + SLACK)
            return inside and (b - a) * (d - c) > 0
        case str() as word, str() as other:
            return word == other
        case _:
            return False


def far(excused: str, found: str) -> bool:
    """Whether what is excused is more than AMPLE times what was found, which it contains.

    A step is measured by what it adds, and by its factor too: a rate that falls can fall no further than to nothing.
    """
    match read(excused), read(found):
        case Fraction() as most, Fraction() as one:
            return abs(most) > abs(one) * AMPLE
        case (Fraction() as c, Fraction() as d), (Fraction() as a, Fraction() as b):
            return abs(d - c) > abs(b - a) * AMPLE or _factor(c, d) > _factor(a, b) ** AMPLE
        case _:
            return False


def _factor(before: Fraction, after: Fraction) -> Fraction | float:
    """How many times the smaller end of a step the larger one is."""
    low, high = sorted((abs(before), abs(after)))
    return high / low if low else math.inf


def largest(found: Iterable[str]) -> list[str]:
    """Those that no other of them contains: what a waiver of all of them has to name."""
    kept: list[str] = []
    for one in found:
        if not any(within(one, other) for other in kept):
            kept = [other for other in kept if not within(other, one)] + [one]
    return kept


def _number(value: Fraction) -> str:
    if value.denominator == 1 and abs(value) >= 1000:
        sign = "-" if value < 0 else ""
        return sign + units.format_tokens(abs(int(value)))
    if value == 0 or abs(value) >= Fraction(1, 100):
        return f"{float(value):.6g}"
    digits, _, exponent = f"{float(value):.5e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"


def _read_number(text: str) -> Fraction | None:
    """What has a unit is a word: `64 seq` is what stands in the place of a sweep's field (S-11)."""
    text = text.strip()
    if quantities.is_number(text) and "/" not in text and text[-1] not in "%":
        with suppress(quantities.BadQuantity):
            return units.number(text)
    return None
