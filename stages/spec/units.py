"""Readers of quantities in specs, one for each unit: exact, and refused where another unit is meant.

Every function takes the text of a YAML scalar and raises `BadQuantity`, which says what is allowed and how to correct
it. Values are integers or exact fractions; nothing passes through a float.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from stages.spec.quantities import BINARY_OF, DECIMAL, NUMBER, PREFIXES, BadQuantity, describe, split

LARGEST_TERM = 100  # of a ratio that is an exponent: what is raised to it stays quick to compute
_LIKE_TRUE, _LIKE_FALSE = frozenset({"yes", "on", "y", "1"}), frozenset({"no", "off", "n", "0"})
EPOCHS = ("epoch", "epochs")
SHARE = "Write tokens: a share of a budget is written as the tokens that it comes to."
_LETTERS = {"GB": DECIMAL["B"], "MB": DECIMAL["M"]}


class Epochs(NamedTuple):
    """A budget in passes over the phase's corpora: `2 epochs`."""

    number: int


def number(text: object) -> Fraction:
    """A plain number: `50_000`, `2e-5`, `8Ki`."""
    allowed = "a plain number such as 50_000, 0.95 or 2e-5"
    value, _, unit = split(text, allowed)
    if unit:
        raise BadQuantity(describe(text), allowed, _plain(value, unit))
    return value


def _plain(value: Fraction, unit: str) -> str:
    """The repair for a number with a unit; without its sign, a share would be a hundred times what is meant."""
    return f"Write {float(value / 100):g}." if unit == "%" else f"Leave out the unit {unit!r}."


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


def _in_another(value: Fraction, unit: str, units: tuple[str, ...]) -> str:
    """What to do about a unit that does not stand here; papers often give steps for budgets, and tokens for batches."""
    if unit == "%" and "tokens" in units:
        return SHARE
    if unit in _LETTERS and "tokens" in units and value.denominator == 1:
        return f"Write {format_tokens(int(value) * _LETTERS[unit])}: GB and MB are units of memory."
    if unit == "steps" and "tokens" in units:
        return "Write the tokens: steps times the sequences of a step times their context."
    if unit in EPOCHS and "tokens" in units:
        return "Write tokens. Beside a budget in epochs a schedule's piece may be in epochs too: `for: 0.9 epochs`."
    if unit in ("", "tokens") and units == ("seq",):
        return "Use the unit 'seq': the tokens of a step divided by the context are its sequences."
    return f"Use the unit {' or '.join(repr(one) for one in units if one)}."


def _in_unit(text: object, units: tuple[str, ...], allowed: str, least: int) -> int:
    value, _, unit = split(text, allowed)
    if unit not in units:
        raise BadQuantity(describe(text), allowed, _in_another(value, unit, units))
    if 0 < value < 1 and "tokens" in units:
        raise BadQuantity(describe(text), allowed, SHARE)
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


def _scaled(text: object, sizes: Mapping[str, int], allowed: str) -> int:
    """A whole number, at least one, of the unit whose size is 1."""
    value, prefix, unit = split(text, allowed)
    if unit not in sizes or prefix:
        *most, last = map(repr, sizes)
        raise BadQuantity(describe(text), allowed, f"Use the unit {', '.join(most)} or {last}.")
    return _whole(value * sizes[unit], text, allowed, 1)


def megabytes(text: object) -> int:
    """Memory in MB of 10^6 bytes: `4 GB`, `1500 MB`."""
    return _scaled(text, {"GB": 1000, "MB": 1}, "memory such as '4 GB' or '1500 MB'")


def minutes(text: object) -> int:
    """A time limit in minutes: `90 min`, `12 h`."""
    return _scaled(text, {"min": 1, "h": 60}, "a time such as '90 min' or '12 h'")


def seconds(text: object) -> int:
    """A short time in seconds: `90 s`, `5 min`."""
    return _scaled(text, {"s": 1, "min": 60, "h": 3600}, "a time such as '90 s', '5 min' or '1 h'")


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
    written = NUMBER.match(str(text).strip())
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
