"""What an audit reports: what is wrong, where, what was found and expected, what it costs, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from stages.audit.recipe import Edge, Fault, Pipeline, Stage
from stages.errors import Where


@dataclass(frozen=True)
class Kind:
    """A kind of defect, the invariant that it breaks, and in a sentence why it matters."""

    id: str
    invariant: str
    title: str


@dataclass(frozen=True)
class Finding:
    """A defect at a place.

    `tokens` are those that are trained wrongly, not at all, or twice; None where the text does not say. `certain`: it
    follows from the text alone; otherwise `unless` says what, if it is so, would make it none.
    """

    kind: str
    invariant: str
    stage: str
    where: Where
    found: str
    expected: str
    consequence: str
    tokens: int | None = None
    gpu_hours: float | None = None
    unless: str | None = None

    @property
    def certain(self) -> bool:
        """Whether the text alone decides it."""
        return self.unless is None

    def as_dict(self) -> dict[str, str | int | float | bool | None]:
        """For `--json`."""
        return {
            "kind": self.kind, "invariant": self.invariant, "stage": self.stage, "file": self.where.file,
            "line": self.where.line, "found": self.found, "expected": self.expected, "consequence": self.consequence,
            "tokens": self.tokens, "gpu_hours": self.gpu_hours, "certain": self.certain, "unless": self.unless,
        }  # fmt: skip


Rule = Callable[[Pipeline], Iterator[Fault]]
StageRule = Callable[[Stage], Iterator[Fault]]
EdgeRule = Callable[[Edge], Iterator[Fault]]
T = TypeVar("T")
KINDS: dict[str, Kind] = {}
RULES: list[tuple[Kind, Rule]] = []


def rule(id: str, invariant: str, title: str) -> Callable[[Rule], Rule]:
    """Registers a function that finds one kind of defect in a pipeline."""

    def register(function: Rule) -> Rule:
        if id in KINDS:
            raise ValueError(f"two kinds are called {id}")
        KINDS[id] = Kind(id, invariant, title)
        RULES.append((KINDS[id], function))
        return function

    return register


def stage_rule(id: str, invariant: str, title: str) -> Callable[[StageRule], StageRule]:
    """Registers a function that finds one kind of defect in a run, whatever the others are."""
    return _of_each(rule(id, invariant, title), lambda pipeline: pipeline.stages)


def edge_rule(id: str, invariant: str, title: str) -> Callable[[EdgeRule], EdgeRule]:
    """Registers a function that finds one kind of defect in a hand-over."""
    return _of_each(rule(id, invariant, title), lambda pipeline: pipeline.edges)


def _of_each(
    register: Callable[[Rule], Rule], parts: Callable[[Pipeline], Iterable[T]]
) -> Callable[[Callable[[T], Iterator[Fault]]], Callable[[T], Iterator[Fault]]]:
    """Registers a function of one part of a pipeline, which is then asked about all of them."""

    def registered(function: Callable[[T], Iterator[Fault]]) -> Callable[[T], Iterator[Fault]]:
        register(lambda pipeline: (fault for part in parts(pipeline) for fault in function(part)))
        return function

    return registered
