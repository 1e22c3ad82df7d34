"""The grammar of quantities in specs, exact: a number, a prefix and a unit (`0.6T`, `8Ki`, `4096 seq`, `40%`).

What is none raises `BadQuantity`, which says what is allowed and how to correct it. Nothing passes through a float.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from stages.spec.slips import foreign

DECIMAL = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
BINARY_OF = {"K": "Ki", "M": "Mi", "B": "Gi"}
PREFIXES = DECIMAL | BINARY
MALFORMED = "Write a number and its unit."
LONGEST = 64  # characters of a quantity: no figure of a spec is longer
LARGEST_EXPONENT = 300  # decimal exponents a float can represent
_DIGITS = r"\d+(?:_\d+)*"
NUMBER = re.compile(rf"(?P<sign>[+-]?)(?P<body>{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE](?P<exp>[+-]?\d+))?")
_QUANTITY = re.compile(
    rf"(?P<number>{NUMBER.pattern})\s*(?P<prefix>Ki|Mi|Gi|(?:K|M|B|T)(?!B\b))?\s*(?P<unit>%|[A-Za-z]+)?", re.ASCII
)
_OCTAL = re.compile(r"0_*\d")
# Units of the same kind, as how many of the smallest; tokens and patches are counts.
_ALIKE = {
    "tokens": ("", 1), "patches": ("", 1), "epoch": ("epochs", 1), "GB": ("MB", 1000), "min": ("s", 60),
    "h": ("s", 3600),
}  # fmt: skip
UNITS = ("", "%", "seq", "steps", "tokens", "patches", "epoch", "epochs", "GB", "MB", "s", "min", "h")
_WORD = re.compile(rf"(?P<number>{NUMBER.pattern})\s*(?P<word>[A-Za-z]+)", re.ASCII)
# Other spellings of prefixes and units, in small letters.
_SPELT = {one.lower(): one for one in (*PREFIXES, *UNITS) if one.isalpha()} | {
    "kib": "Ki", "mib": "Mi", "gib": "Gi", "thousand": "K", "million": "M", "billion": "B", "trillion": "T",
    "bn": "B", "mn": "M", "tn": "T",
    "sequence": "seq", "sequences": "seq", "seqs": "seq", "step": "steps", "token": "tokens", "patch": "patches",
    "minute": "min", "minutes": "min", "mins": "min", "hour": "h", "hours": "h", "hr": "h",
}  # fmt: skip


# Other units of memory, in MB.
_MEMORY = {
    "tb": Fraction(10**6),
    "mib": Fraction(2**20, 10**6),
    "gib": Fraction(2**30, 10**6),
    "tib": Fraction(2**40, 10**6),
}

_OF_MEMORY = {"g": "gb", "m": "mb", "t": "tb"}
_OF_TOKENS = {"g": "b", "kb": "k", "tb": "t", "gtok": "b", "mtok": "m"}
_CLOCK = re.compile(r"(?:(?P<days>\d{1,3})-)?(?P<hours>\d{1,4}):(?P<minutes>\d\d):\d\d", re.ASCII)  # Slurm's


class BadQuantity(ValueError):  # noqa: N818  (pydantic prints the name of errors; this one reads better)
    """A value of a spec that is malformed, has the wrong unit or does not fit; `at` leads to a part of it."""

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
        raise BadQuantity(describe(text), allowed, _spelt(text, allowed))
    if match["exp"] and abs(int(match["exp"])) > LARGEST_EXPONENT:
        raise BadQuantity(describe(text), allowed, f"Exponents go up to {LARGEST_EXPONENT}.")
    if _OCTAL.match(match["body"]):
        raise BadQuantity(describe(text), allowed, "Leave out the leading zero: some readers take 010 for 8.")
    value = Fraction(match["number"].replace("_", "")) * PREFIXES[match["prefix"] or ""]
    return value, match["prefix"] or "", match["unit"] or ""


def _spelt(text: str, allowed: str) -> str:
    """The repair for what is no quantity: as it is spelt here, where that is known."""
    if "a time" in allowed and (clock := _CLOCK.fullmatch(text.strip(" "))) is not None:
        minutes = (int(clock["days"] or 0) * 24 + int(clock["hours"])) * 60 + int(clock["minutes"])
        return f"Write {minutes // 60} h." if minutes % 60 == 0 else f"Write {minutes} min."
    match = _WORD.fullmatch(text.strip(" ")) if len(text) <= LONGEST else None
    word = match["word"].lower() if match is not None else ""
    word = (_OF_MEMORY if "memory" in allowed else _OF_TOKENS if "tokens" in allowed else {}).get(word, word)
    if match is not None and word in _MEMORY and "memory" in allowed:
        megabytes = int(Fraction(match["number"].replace("_", "")) * _MEMORY[word])
        return f"Write {megabytes} MB." if megabytes % 1000 else f"Write {megabytes // 1000} GB."
    unit = "min" if word == "m" and "min" in allowed else _SPELT.get(word)
    if match is None or unit is None:
        return MALFORMED
    return f"Write {match['number']}{'' if unit in PREFIXES else ' '}{unit}."


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
        return bool(NUMBER.fullmatch(top.strip()) and NUMBER.fullmatch(bottom.strip()))
    match = _QUANTITY.fullmatch(text.strip(" "))
    return match is not None and (match["unit"] or "") in UNITS


def same(old: str, new: str) -> bool:
    """Whether two scalars mean the same: equal text, or equal quantities (3e-4 and 0.0003, 0.6T and 600B, 2 h and
    120 min).
    """
    return old == new or (is_number(old) and is_number(new) and _measured(old) == _measured(new))


def _measured(text: str) -> tuple[Fraction | str, str]:
    """A number in the smallest unit of its kind; a ratio by nothing is no number but its text."""
    top, slash, bottom = text.partition("/")
    if slash:
        whole = Fraction(bottom.strip().replace("_", ""))
        return (Fraction(top.strip().replace("_", "")) / whole if whole else text), ""
    value, _, unit = split(text, "")
    smallest, size = _ALIKE.get(unit, (unit, 1))
    return value * size, smallest
