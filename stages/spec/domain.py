"""What a number of a spec may be: how it is written, and between which bounds. `domains` lists them all.

One object serves the loader (text in, exact value out), resolved values (their bounds), JSON Schema and the docs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil
from typing import Any

from annotated_types import BaseMetadata, Ge, GroupedMetadata, Gt, Le, Lt
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from stages.spec import quantities

PLAIN = "Write it in digits, as 14_336, 0.95 or 2e-5."  # a number that has no unit
_DIGITS = r"\d+(_\d+)*"
_WHOLE = r"(0|[1-9]\d*(_\d+)*)"  # no leading zero: some readers of YAML take 010 for 8
_NUMBER = rf"({_WHOLE}(\.({_DIGITS})?)?|\.{_DIGITS})([eE][+-]?\d+)?"
_PREFIX = "(Ki|Mi|Gi|K|M|B|T)?"


@dataclass(frozen=True)
class Form:
    """How a quantity is written: who reads it, what it is called, its units ("" is none), whether it may be plain."""

    read: Callable[[object], Any]
    what: str
    units: tuple[str, ...] = ("",)
    prefixes: bool = True
    whole: bool = True
    over: bool = False  # a ratio may be written: 1/256

    def pattern(self, signed: bool) -> str:
        """A regular expression for the text of such a quantity, as JSON Schema knows them."""
        number = f"[+-]?{_NUMBER}" if signed else rf"\+?{_NUMBER}"
        number += _PREFIX if self.prefixes else ""
        words = [unit for unit in self.units if unit]
        unit = rf"\s*({'|'.join(words)})" if words else ""
        ratio = rf"(\s*/\s*{number})?" if self.over else ""
        return rf"^\s*{number}{unit}{'?' if words and '' in self.units else ''}{ratio}\s*$"


@dataclass(frozen=True)
class Domain(GroupedMetadata):
    """The values of one kind of number. Bounds are written as in a spec; `word` stands for no number at all."""

    form: Form
    example: str
    least: str | None = None
    above: str | None = None
    most: str | None = None
    below: str | None = None
    word: str | None = None

    def __call__(self, text: object) -> Any:
        """The exact value of a YAML scalar. Raises BadQuantity."""
        if self.word is not None and text == self.word:
            return None
        try:
            value = self.form.read(text)
        except quantities.BadQuantity as error:
            bare = error.repair == quantities.MALFORMED and not any(self.form.units)
            raise quantities.BadQuantity(error.found, self.allowed, PLAIN if bare else error.repair) from None
        if not self.contains(value):
            raise quantities.BadQuantity(quantities.describe(text), self.allowed, "Write a value in this range.")
        return value

    def contains(self, value: Any) -> bool:
        """Whether a value that was read lies between the bounds."""
        size, (least, above, most, below) = _size(value), self._bounds
        return (
            (least is None or size >= least)
            and (above is None or size > above)
            and (most is None or size <= most)
            and (below is None or size < below)
        )

    @cached_property
    def _bounds(self) -> tuple[Any, Any, Any, Any]:
        least, above, most, below = (
            None if text is None else _size(self.form.read(text))
            for text in (self.least, self.above, self.most, self.below)
        )
        return least, above, most, below

    @property
    def range(self) -> str:
        """The bounds in words: "from 1 to 100", "at least 0 and below 1"."""
        if self.least is not None and self.most is not None:
            return f"from {self.least} to {self.most}"
        named = (("at least", self.least), ("above", self.above), ("at most", self.most), ("below", self.below))
        return " and ".join(f"{name} {text}" for name, text in named if text is not None)

    @property
    def allowed(self) -> str:
        """What an error message says is allowed."""
        text = ", ".join(filter(None, [self.form.what, self.range, f"such as {self.example}"]))
        return f"{text}; or {self.word}" if self.word is not None else text

    def __iter__(self) -> Iterator[BaseMetadata]:
        """The bounds of a resolved value, for pydantic."""
        least, above, most, below = self._bounds
        for bound, limit in ((least, Ge), (above, Gt), (most, Le), (below, Lt)):
            if bound is not None:
                yield limit(int(bound) if self.form.whole else float(bound))

    def json_schema(self) -> dict[str, Any]:
        """For editors, which read 0.95 as a number and 8Ki, 50_000 or 4096 seq as text."""
        least, above, most, below = self._bounds
        signed = (least is not None and least < 0) or (least is None and above is None)
        choices: list[dict[str, Any]] = [{"type": "string", "pattern": self.form.pattern(signed)}]
        if "" in self.form.units:
            names = {"minimum": least, "exclusiveMinimum": above, "maximum": most, "exclusiveMaximum": below}
            limits = {name: _plain(bound) for name, bound in names.items() if bound is not None}
            choices.append({"type": "integer" if self.form.whole else "number", **limits})
        if self.word is not None:
            choices.append({"const": self.word})
        return {"description": self.allowed, **({"anyOf": choices} if len(choices) > 1 else choices[0])}


class Written:
    """A number as a spec writes it, for a field of a raw spec: text in, the domain's value out, as `kind` if given."""

    def __init__(self, domain: Domain, kind: Callable[[Any], Any] | None = None) -> None:
        self.domain, self._kind = domain, kind

    def _read(self, text: object) -> Any:
        value = self.domain(text)
        return value if value is None or self._kind is None else self._kind(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return self.domain.json_schema()


def _size(value: Any) -> Any:
    """What of a value is compared with bounds: (2000, "steps") by its number, a part of an epoch as a whole one."""
    return ceil(value[0]) if isinstance(value, tuple) else value


def _plain(bound: Fraction | int) -> int | float:
    return int(bound) if bound == int(bound) else float(bound)
