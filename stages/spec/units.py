"""Quantities as people write them in specs: exact, with their unit, and refused where another unit is meant.

Every function takes the text of a YAML scalar and raises `BadQuantity`, which says what is allowed and how to mend it.
Values are integers or exact fractions; nothing passes through a float.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from stages.spec.slips import foreign

DECIMAL = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
BINARY_OF = {"K": "Ki", "M": "Mi", "B": "Gi"}
PREFIXES = DECIMAL | BINARY
MALFORMED = "Write a number and its unit."
LONGEST = 64  # characters of a quantity: no figure of a spec is longer
LARGEST_EXPONENT = 300  # decimal exponents a float can hold
LARGEST_TERM = 100  # of a ratio that is an exponent: what is raised to it stays quick to compute
_DIGITS = r"\d+(?:_\d+)*"
_NUMBER = re.compile(rf"(?P<sign>[+-]?)(?P<body>{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE](?P<exp>[+-]?\d+))?")
_QUANTITY = re.compile(
    rf"(?P<number>{_NUMBER.pattern})\s*(?P<prefix>Ki|Mi|Gi|(?:K|M|B|T)(?!B\b))?\s*(?P<unit>%|[A-Za-z]+)?", re.ASCII
)
_OCTAL = re.compile(r"0_*\d")
_LIKE_TRUE, _LIKE_FALSE = frozenset({"yes", "on", "y", "1"}), frozenset({"no", "off", "n", "0"})
UNITS = ("", "%", "seq", "steps", "tokens", "patches", "epoch", "epochs", "GB", "MB", "s", "min", "h")


EPOCHS = ("epoch", "epochs")


class Epochs(NamedTuple):
    """A budget in passes over the phase's corpora: `2 epochs`."""

    number: int


class BadQuantity(ValueError):  # noqa: N818  (pydantic prints the name of errors; this one reads better)
    """A quantity that is malformed, has the wrong unit or is out of range; `at` leads to a part of it."""

    def __init__(self, found: str, allowed: str, repair: str, at: tuple[int | str, ...] = ()) -> None:
        self.found, self.allowed, self.repair, self.at = found, allowed, repair, at
        super().__init__(f"found {found}; allowed: {allowed}. {repair}")


def split(text: object, allowed: str) -> tuple[Fraction, str, str]:
    """The exact value with its prefix applied, the prefix and the unit of a quantity."""
    if not isinstance(text, str):
        raise BadQuantity(describe(text), allowed, "Write a quantity.")
    return _split(text, allowed)


@lru_cache(4096)  # the same few figures stand in every file
def _split(text: str, allowed: str) -> tuple[Fraction, str, str]:
    match = _QUANTITY.fullmatch(text.strip(" ")) if len(text) <= LONGEST else None
    if match is None or (match["unit"] or "") not in UNITS:
        raise BadQuantity(describe(text), allowed, MALFORMED)
    if match["exp"] and abs(int(match["exp"])) > LARGEST_EXPONENT:
        raise BadQuantity(describe(text), allowed, f"Exponents go up to {LARGEST_EXPONENT}.")
    if _OCTAL.match(match["body"]):
        raise BadQuantity(describe(text), allowed, "Leave out the leading zero: some readers take 010 for 8.")
    value = Fraction(match["number"].replace("_", "")) * PREFIXES[match["prefix"] or ""]
    return value, match["prefix"] or "", match["unit"] or ""


def describe(value: object) -> str:
    """A value as an error message shows it: short, on one line, with the name of a character that is not ASCII."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    shown = repr(text if len(text) <= LONGEST else text[: LONGEST - 3] + "...")
    return f"{shown}, with {name}" if (name := foreign(text)) else shown


def is_number(text: str) -> bool:
    """Whether a scalar states a figure: a number with or without a unit, a share or a ratio."""
    if len(text) > LONGEST:
        return False
    if "/" in text:
        top, _, bottom = text.partition("/")
        return bool(_NUMBER.fullmatch(top.strip()) and _NUMBER.fullmatch(bottom.strip()))
    match = _QUANTITY.fullmatch(text.strip(" "))
    return match is not None and (match["unit"] or "") in UNITS


def same(old: str, new: str) -> bool:
    """Whether two scalars mean the same: equal text, or equal quantities (3e-4 and 0.0003, 0.6T and 600B)."""
    if old == new:
        return True
    if not (is_number(old) and is_number(new)) or "/" in old + new:
        return False
    (first, _, unit), (second, _, other) = split(old, ""), split(new, "")
    counted = {"", "tokens", "patches"}
    return first == second and (unit == other or {unit, other} <= counted)


def number(text: object) -> Fraction:
    """A plain number: `50_000`, `2e-5`, `8Ki`."""
    allowed = "a plain number such as 50_000, 0.95 or 2e-5"
    value, _, unit = split(text, allowed)
    if unit:
        raise BadQuantity(describe(text), allowed, f"Leave out the unit {unit!r}.")
    return value


def ratio(text: object) -> Fraction:
    """A positive number or an exact ratio: `10`, `1/256`."""
    allowed = "a positive number or ratio such as 10 or 1/256"
    if isinstance(text, str) and "/" in text:
        top, _, bottom = text.partition("/")
        below = number(bottom)
        if below == 0:
            raise BadQuantity(describe(text), allowed, "Nothing can be divided by zero.")
        value = number(top) / below
    else:
        value = number(text)
    if value <= 0:
        raise BadQuantity(describe(text), allowed, "Write a number above zero.")
    return value


def exponent(text: object) -> Fraction:
    """A positive ratio of small whole numbers, as a power that integers can be raised to: `1/2`."""
    value = ratio(text)
    if max(value.numerator, value.denominator) > LARGEST_TERM:
        allowed = f"a ratio of whole numbers up to {LARGEST_TERM}, such as 1/2"
        raise BadQuantity(describe(text), allowed, "Write a ratio of small whole numbers, such as 1/3 for 0.333.")
    return value


def _whole(value: Fraction, text: object, allowed: str, least: int) -> int:
    if value.denominator != 1:
        raise BadQuantity(describe(text), allowed, "Write a whole number of them.")
    if value < least:
        raise BadQuantity(describe(text), allowed, f"Write at least {least}.")
    return int(value)


def count(text: object) -> int:
    """A whole number of at least zero, without a unit."""
    allowed = "a whole number such as 24 or 49_152"
    return _whole(number(text), text, allowed, 0)


def flag(value: object) -> bool:
    """`true` or `false`: words that some YAML readers take for them are refused, because others take them for text."""
    if isinstance(value, bool):
        return value
    word = value.lower() if isinstance(value, str) else ""
    repair = "Write true." if word in _LIKE_TRUE else "Write false." if word in _LIKE_FALSE else "Write one of the two."
    raise BadQuantity(describe(value), "true or false", repair)


def each_once(names: list[str]) -> list[str]:
    """Names of which none comes twice."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            raise BadQuantity(f"{describe(name)} a second time", "each name once", "Remove one.", (index,))
        seen.add(name)
    return names


def _in_another(unit: str, units: tuple[str, ...]) -> str:
    """What to do about a unit that does not stand here; papers often give steps for budgets, and tokens for batches."""
    if unit == "steps" and "tokens" in units:
        return "Write the tokens: steps times the sequences of a step times their context."
    if unit in ("", "tokens") and units == ("seq",):
        return "Use the unit 'seq': the tokens of a step divided by the context are its sequences."
    return f"Use the unit {' or '.join(repr(one) for one in units if one)}."


def _in_unit(text: object, units: tuple[str, ...], allowed: str, least: int) -> int:
    value, _, unit = split(text, allowed)
    if unit not in units:
        raise BadQuantity(describe(text), allowed, _in_another(unit, units))
    return _whole(value, text, allowed, least)


def tokens(text: object) -> int:
    """Ledger units, at least one: `0.6T`, `200B`, `8Ki`, `512 tokens`, `4M patches`."""
    return _in_unit(text, ("", "tokens", "patches"), "tokens (or patches) such as 0.6T, 200B, 8Ki or 512 tokens", 1)


def budget(text: object) -> int | Epochs:
    """A phase's length: ledger units, or passes over its corpora: `68B`, `1 epoch`, `2 epochs`."""
    allowed = "tokens (or patches) such as 0.6T or 512 tokens, or epochs such as '1 epoch'"
    if split(text, allowed)[2] in EPOCHS:
        return Epochs(_in_unit(text, EPOCHS, "whole epochs such as '1 epoch' or '2 epochs'", 1))
    return _in_unit(text, ("", "tokens", "patches"), allowed, 1)


def context(text: object) -> int:
    """Positions: `8Ki`. Lengths are powers of two, so 256K is taken for a slip; 256_000 is a length like any other."""
    value = offset(text)
    size, prefix, _ = split(text, "")
    power = size / PREFIXES[prefix]
    if prefix in BINARY_OF and power.denominator == 1 and power.numerator.bit_count() == 1:
        meant = f"{power}{BINARY_OF[prefix]}"
        found, allowed = f"{describe(text)}, which is {value:,} positions", "a context such as 8Ki or 1Mi"
        raise BadQuantity(found, allowed, f"Write {meant}, or {value:_} if that is the length meant.")
    return value


def offset(text: object) -> int:
    """Ledger units from the start of something, zero included."""
    return _in_unit(text, ("", "tokens", "patches"), "tokens (or patches) such as 0 or 200B", 0)


def sequences(text: object) -> int:
    """Sequences, at least one: `4096 seq`."""
    return _in_unit(text, ("seq",), "sequences such as '4096 seq'", 1)


def steps(text: object) -> int:
    """Optimizer steps, at least one: `1000 steps`."""
    return _in_unit(text, ("steps",), "steps such as '1000 steps'", 1)


def share(text: object) -> Fraction:
    """A share between 0% and 100%."""
    allowed = "a share from 0% to 100%, such as 40%"
    value, prefix, unit = split(text, allowed)
    if unit != "%" or prefix:
        raise BadQuantity(describe(text), allowed, "Write it in per cent.")
    if not 0 <= value <= 100:
        raise BadQuantity(describe(text), allowed, "A share lies between 0% and 100%.")
    return value / 100


def megabytes(text: object) -> int:
    """Memory in MB of 10^6 bytes: `4 GB`, `1500 MB`."""
    allowed = "memory such as '4 GB' or '1500 MB'"
    value, prefix, unit = split(text, allowed)
    if unit not in ("GB", "MB") or prefix:
        raise BadQuantity(describe(text), allowed, "Use the unit 'GB' or 'MB'.")
    return _whole(value * (1000 if unit == "GB" else 1), text, allowed, 1)


def minutes(text: object) -> int:
    """A time limit in minutes: `90 min`, `12 h`."""
    allowed = "a time such as '90 min' or '12 h'"
    value, prefix, unit = split(text, allowed)
    if unit not in ("min", "h") or prefix:
        raise BadQuantity(describe(text), allowed, "Use the unit 'min' or 'h'.")
    return _whole(value * (60 if unit == "h" else 1), text, allowed, 1)


def seconds(text: object) -> int:
    """A short time in seconds: `90 s`, `5 min`."""
    allowed = "a time such as '90 s', '5 min' or '1 h'"
    value, prefix, unit = split(text, allowed)
    if unit not in ("s", "min", "h") or prefix:
        raise BadQuantity(describe(text), allowed, "Use the unit 's', 'min' or 'h'.")
    return _whole(value * {"s": 1, "min": 60, "h": 3600}[unit], text, allowed, 1)


def length(text: object) -> tuple[int | Fraction, str]:
    """A stretch of a schedule: (2000, "steps"), (33_000_000_000, "tokens") or (Fraction(1, 2), "epochs")."""
    allowed = "a length such as '2000 steps', 33B or '0.5 epochs'"
    value, _, unit = split(text, allowed)
    if unit == "steps":
        return steps(text), "steps"
    if unit in EPOCHS:
        if value <= 0:
            raise BadQuantity(describe(text), allowed, "Write a number above zero.")
        return value, "epochs"
    return tokens(text), "tokens"


def claimed(text: object) -> tuple[int, int]:
    """A published total and its rounding: 7.7T is (7_700_000_000_000, 50_000_000_000)."""
    return tokens(text), rounding(text)


def rounding(text: object) -> int:
    """Half a unit of the last place written, in tokens: 7.7T is meant to within 50B."""
    _, prefix, _ = split(text, "tokens such as 7.7T")
    written = _NUMBER.match(str(text).strip())
    body = written["body"].replace("_", "") if written else ""
    places = len(body.partition(".")[2]) if prefix in DECIMAL and prefix else 0
    return int(Fraction(PREFIXES[prefix], 2 * 10**places)) if prefix else 0


def format_tokens(value: int) -> str:
    """The shortest exact writing of a token count: 600000000000 is 0.6T."""
    if value and value % 1024 == 0 and value % 1000:
        prefix, size = ("Mi", 2**20) if value % 2**20 == 0 else ("Ki", 2**10)
        return f"{value // size}{prefix}"
    for prefix in ("T", "B", "M", "K"):
        scaled = Fraction(value * 10, DECIMAL[prefix])
        if scaled.denominator == 1 and scaled > 0:
            whole, tenth = divmod(int(scaled), 10)
            return f"{whole}{prefix}" if tenth == 0 else f"{whole}.{tenth}{prefix}"
    return str(value)
