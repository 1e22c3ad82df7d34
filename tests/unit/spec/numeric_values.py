"""Values inside and outside of a domain, as a spec would write them."""

from __future__ import annotations

import re

from hypothesis import strategies as st

from stages.spec.domain import Domain
from stages.spec.nodes import Tree

JUNK: list[Tree] = [
    "nan", ".inf", "-.inf", "1e400", "two", "", "1 parsec", "0x10", "1,000", "1/0", True, False, [], {}, ["1"]
]  # fmt: skip


def outside(domain: Domain) -> list[Tree]:
    """What the domain does not hold: just beyond its bounds, another unit, parts of what is whole, no number at all."""
    parts = [f"0.5{_unit(domain.example)}"] if domain.form.whole and domain.form.prefixes else []
    beyond = [_shifted(text, 1) for text in (domain.most, domain.below) if text is not None]
    return [*JUNK, *outside_of_a_schema(domain), *_below(domain), *beyond, *parts]


def outside_of_a_schema(domain: Domain) -> list[Tree]:
    """Of these, what JSON Schema can tell: it knows forms and units, and the lower bounds of plain numbers."""
    plain = domain.form.units == ("",) and not domain.form.over
    other = "1 seq" if "seq" not in domain.form.units else "1%"
    read_otherwise = ("0x10", *(["1/0"] if domain.form.over else []))  # 16 for YAML 1.2; a ratio by its form
    junk = [one for one in JUNK if one not in read_otherwise]
    return [*junk, other, *(_below(domain) if plain else [])]


def inside(domain: Domain) -> list[str]:
    """The bounds that belong to it, the example, and the word that may stand for a number."""
    texts = (domain.example.split(" or ")[0], domain.least, domain.most, domain.word)
    return [text for text in texts if text is not None]


def drawn(domain: Domain) -> st.SearchStrategy[str]:
    """Any whole number or decimal fraction in the domain's unit, in or out."""
    unit = _unit(domain.example)
    whole = st.integers(-(10**18), 10**18).map(str)
    real = st.floats(allow_nan=False, allow_infinity=False).map(repr)
    return st.one_of(whole, real).map(lambda number: f"{number}{unit}")


def _below(domain: Domain) -> list[str]:
    bounds = [text for text in (domain.above, domain.below) if text is not None]
    return [*bounds, *(_shifted(text, -1) for text in (domain.least, domain.above) if text is not None)]


def _unit(text: str) -> str:
    found = re.search(r"[ ]?(seq|steps|GB|MB|min|h|s|%)$", text.split(" or ")[0])
    return found[0] if found else ""


def _shifted(text: str, direction: int) -> str:
    """A bound moved by one, or by a factor of ten: "1 seq" to "0 seq", "1e-30" to "1e-31"."""
    unit = _unit(text)
    number = text.removesuffix(unit)
    if "/" in number:
        top, bottom = number.split("/")
        return f"{top}/{int(bottom.replace('_', '')) * 10}" if direction < 0 else f"{int(top) * 10}/{bottom}"
    match = re.fullmatch(r"(-?[\d_.e-]+)(\D*)", number.replace("_", ""))
    assert match, text
    value = float(match[1]) if "e" in match[1] or "." in match[1] else int(match[1])
    if isinstance(value, float):
        return f"{value * (10 if direction > 0 else 0.1):g}{match[2]}{unit}"
    return f"{value + direction}{match[2]}{unit}"
