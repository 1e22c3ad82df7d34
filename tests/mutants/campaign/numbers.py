"""Typical slips in a written quantity: a digit more or less, another prefix, a lost unit, a lost sign."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

QUANTITY = re.compile(
    r"(?P<sign>[+-]?)(?P<body>\d[\d_]*(?:\.\d+)?)(?:e(?P<exponent>[+-]?\d+))?"
    r"(?P<over>/\d[\d_]*)?(?P<prefix>Ki|Mi|Gi|K|M|B|T)?(?P<unit>%| ?[A-Za-z]+)?"
)
OTHER_PREFIX = {"Ki": ("K", "Mi"), "Mi": ("M", "Ki"), "K": ("Ki", "M"), "M": ("K", "B"), "B": ("M", "T"), "T": ("B",)}
OTHER_UNIT = {" GB": " MB", " MB": " GB", " min": " h", " seq": " tokens", " steps": " tokens"}


def is_quantity(text: str) -> bool:
    """Whether a scalar is a number with or without prefix and unit, or a ratio."""
    return QUANTITY.fullmatch(text) is not None


def slips(text: str) -> Iterator[tuple[str, str]]:
    """(what slipped, the text as it is then) for a quantity."""
    match = QUANTITY.fullmatch(text)
    assert match is not None, text
    sign, body, exponent, over, prefix, unit = (match[name] or "" for name in (
        "sign", "body", "exponent", "over", "prefix", "unit"))  # fmt: skip
    number = sign + body + (f"e{exponent}" if exponent else "")
    tail = prefix + unit
    if Decimal(number.replace("_", "")):
        yield "x10", _times_ten(sign, body, exponent) + over + tail
        yield "/10", (number + over + "0" if over else _tenth(sign, body, exponent)) + tail
    for other in OTHER_PREFIX.get(prefix, ()):
        yield "prefix", number + other + unit
    if unit:
        yield "unit lost", number + prefix
    if unit in OTHER_UNIT:
        yield "other unit", number + prefix + OTHER_UNIT[unit]
    if exponent.startswith("-"):
        yield "minus lost", f"{sign}{body}e{exponent[1:]}{tail}"
    elif sign == "-":
        yield "minus lost", number[1:] + tail
    if number.replace("_", "").isdigit() and not over and not tail:
        yield "one more", str(int(number) + 1)


def _times_ten(sign: str, body: str, exponent: str) -> str:
    if exponent:
        return f"{sign}{body}e{int(exponent) + 1}"
    if "." not in body:
        return f"{sign}{int(body) * 10:{'_' if '_' in body else ''}}"
    return sign + f"{Decimal(body) * 10:f}"


def _tenth(sign: str, body: str, exponent: str) -> str:
    """A digit lost: whole numbers stay whole, as 4096 becomes 409."""
    if exponent:
        return f"{sign}{body}e{int(exponent) - 1}"
    if "." not in body:
        whole = int(body)
        return sign + (f"{whole // 10:{'_' if '_' in body else ''}}" if whole > 9 else f"0.{whole}")
    return sign + f"{Decimal(body) / 10:f}"
