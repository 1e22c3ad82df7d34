"""The types of raw specs' fields: text of a scalar in, exact value out."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from stages.spec import units


class Raw(BaseModel):
    """Base of all raw specs: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


def _text(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": ["string", "number"], "description": pattern})


Tokens = Annotated[int, BeforeValidator(units.tokens), _text("tokens or patches: 0.6T, 200B, 8Ki, 512 tokens")]
Offset = Annotated[int, BeforeValidator(units.offset), _text("tokens or patches from a start: 0, 200B")]
Count = Annotated[int, BeforeValidator(units.count), _text("a whole number")]
Positive = Annotated[int, BeforeValidator(units.positive), _text("a whole number of at least 1")]
Sequences = Annotated[int, BeforeValidator(units.sequences), _text("4096 seq")]
Steps = Annotated[int, BeforeValidator(units.steps), _text("1000 steps")]
Share = Annotated[Fraction, BeforeValidator(units.share), _text("40%")]
Ratio = Annotated[Fraction, BeforeValidator(units.ratio), _text("10 or 1/256")]
Rate = Annotated[Fraction, BeforeValidator(units.rate), _text("a number of at least zero: 2e-5")]
Memory = Annotated[int, BeforeValidator(units.megabytes), _text("4 GB or 1500 MB")]
Minutes = Annotated[int, BeforeValidator(units.minutes), _text("90 min or 12 h")]
Seconds = Annotated[int, BeforeValidator(units.seconds), _text("90 s or 5 min")]
Length = Annotated[tuple[int, str], BeforeValidator(units.length), _text("2000 steps or 33B")]


def _start(value: object) -> object:
    return None if value == "current" else units.rate(value)


StartRate = Annotated[Fraction | None, BeforeValidator(_start), _text("a learning rate, or current")]


def _claimed(value: object) -> object:
    return units.tokens(value), units.rounding(value)


Claimed = Annotated[tuple[int, int], BeforeValidator(_claimed), _text("a published total: 7.7T")]


def numbers(tree: Any) -> Any:
    """A free-form mapping (a model, an optimizer) with its figures turned into int and float."""
    if isinstance(tree, dict):
        return {key: numbers(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [numbers(value) for value in tree]
    if isinstance(tree, str) and units.is_number(tree):
        value = units.number(tree)
        return int(value) if value.denominator == 1 and "e" not in tree and "." not in tree else float(value)
    return tree
