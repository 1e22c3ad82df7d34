"""What was read of a recipe: like a resolved pipeline, but any figure may be unknown.

Every figure keeps the file and line that it was read from. A figure is one of four things: stated in a file, derived
from stated ones, the default of the framework where the file is silent (`default` names the source), or unknown
(`unknown` says why).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeGuard

from stages.errors import Where
from stages.printable import printable

Scalar = int | float | str | bool
Read = Scalar | tuple[Scalar, ...] | None
LARGEST = 10**30  # of a figure: operations of the largest runs are below it, and products of figures stay finite
LONGEST = 64  # characters of a number: no figure of a recipe is longer
HOLE = re.compile(r"\$\{[^{}]*\}|\$\(\.\.\.\)")  # what stays unknown in a text: `${NAME}`, the output of a command
PATHS = frozenset({"save", "load", "pretrained", "tokenizer"})  # figures whose unknown parts stay in the text
_INTEGER = re.compile(r"[+-]?\d+(?:_\d+)*")


@dataclass(frozen=True)
class Value:
    """A figure with its place. `key` is what the file calls it; `value` is None where it is unknown."""

    value: Read
    where: Where
    key: str
    unknown: str | None = None
    default: str | None = None
    derived: bool = False

    @property
    def stated(self) -> bool:
        """Whether the file itself says it, and it is known."""
        return self.value is not None and self.default is None and not self.derived


@dataclass(frozen=True)
class Slip:
    """A mistake of the text itself, which its reader finds: a flag twice, a variable that nothing sets."""

    kind: str
    where: Where
    found: str
    expected: str
    certain: bool = True


@dataclass(frozen=True)
class Stage:
    """One run of a trainer, as a file asks for it."""

    name: str
    framework: str
    where: Where
    values: dict[str, Value] = field(default_factory=dict)
    slips: tuple[Slip, ...] = ()

    def get(self, name: str) -> Read:
        """A figure's value, None where it is unknown or not there."""
        found = self.values.get(name)
        return None if found is None else found.value

    def count(self, name: str) -> int | None:
        """A whole number, or None: unknown, not there, or not whole."""
        value = self.get(name)
        return int(value) if is_number(value) and abs(value) <= LARGEST and value == int(value) else None

    def number(self, name: str) -> float | None:
        """A finite number, or None."""
        value = self.get(name)
        return float(value) if is_number(value) and abs(value) <= LARGEST else None

    def text(self, name: str) -> str | None:
        """A text, or None."""
        value = self.get(name)
        return value if isinstance(value, str) else None

    def folder(self, name: str) -> str:
        """A path without the slash at its end; empty where there is none."""
        return (self.text(name) or "").rstrip("/")

    def on(self, name: str) -> bool:
        """Whether a switch is known to be on."""
        return self.get(name) is True

    def said(self, names: Iterable[str]) -> str:
        """Figures in words: "lr 0.001, beta2 0.95"."""
        return ", ".join(f"{one} {self.get(one)}" for one in names)

    def stated(self, name: str) -> bool:
        """Whether the file itself says it, and it is known."""
        found = self.values.get(name)
        return found is not None and found.stated

    def at(self, *names: str) -> Where:
        """The place of the first of these that the file says, else of one derived; the stage's first line otherwise."""
        found = [self.values[one] for one in names if one in self.values]
        stated = [one for one in found if one.stated] or [one for one in found if one.derived]
        return stated[0].where if stated else self.where

    def fault(
        self, figures: str | Iterable[str], found: str, expected: str, consequence: str, tokens: int | None = None,
        unless: str | None = None,
    ) -> Fault:  # fmt: skip
        """What a rule finds at the place of the first of these figures, as `at`."""
        where = self.at(*((figures,) if isinstance(figures, str) else figures))
        return Fault(self, where, found, expected, consequence, tokens, unless)

    def having(self, added: dict[str, Value]) -> Stage:
        """The stage with further figures; what it has already stays."""
        return replace(self, values={**added, **self.values})


@dataclass(frozen=True)
class Fault:
    """What a rule finds; the registry adds the kind, and the price of the tokens."""

    stage: Stage
    where: Where
    found: str
    expected: str
    consequence: str
    tokens: int | None = None
    unless: str | None = None


@dataclass(frozen=True)
class Edge:
    """A hand-over. `parent` is a stage of the pipeline; `step` is the parent's step that is loaded, where known.

    `latest`: no step is named, and the parent's newest checkpoint is loaded: that of its end, unless it is stopped.
    """

    parent: Stage
    child: Stage
    where: Where
    step: int | None = None
    latest: bool = False

    def fault(
        self, found: str, expected: str, consequence: str, tokens: int | None = None, unless: str | None = None
    ) -> Fault:
        """What a rule finds at the place of the hand-over."""
        return Fault(self.child, self.where, found, expected, consequence, tokens, unless)


@dataclass(frozen=True)
class Pipeline:
    """The stages of a folder, in an order in which parents come first, and their hand-overs."""

    stages: tuple[Stage, ...]
    edges: tuple[Edge, ...]
    notes: tuple[str, ...] = ()  # what the reader could not use: one line each

    def parent(self, stage: Stage) -> Edge | None:
        """The hand-over into a stage, if it is known."""
        return next((edge for edge in self.edges if edge.child.name == stage.name), None)

    def ancestors(self, stage: Stage) -> Iterator[Stage]:
        """The stages that a stage goes on from, the nearest first."""
        edge = self.parent(stage)
        while edge is not None:
            yield edge.parent
            edge = self.parent(edge.parent)

    def children(self, stage: Stage) -> list[Edge]:
        """The hand-overs out of a stage."""
        return [edge for edge in self.edges if edge.parent.name == stage.name]


def numbered(stages: Iterable[Stage]) -> list[Stage]:
    """The runs of one file, in order, each once: several are `FILE#1`, `FILE#2`."""
    runs = {tuple(sorted((key, str(one.value)) for key, one in stage.values.items())): stage for stage in stages}
    several = len(runs) > 1
    return [replace(one, name=f"{one.name}#{n + 1}") if several else one for n, one in enumerate(runs.values())]


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a figure is a number: true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(text: str) -> int | float | None:
    """An integer or a finite number as people write them (1_000, 2e-5), None for anything else."""
    text = text.strip()
    if not text or len(text) > LONGEST:
        return None
    if _INTEGER.fullmatch(text):
        return int(text.replace("_", ""))
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def scalar(text: str) -> Scalar:
    """A word as a value: a number, true or false, else the text."""
    found = number(text)
    if found is not None:
        return found
    lowered = text.strip().lower()
    return {"true": True, "false": False}.get(lowered, printable(text.strip()))


def counted(figures: Iterable[int | None]) -> int | None:
    """The product of whole numbers, None if one is unknown."""
    product = 1
    for figure in figures:
        if figure is None:
            return None
        product *= figure
    return product
