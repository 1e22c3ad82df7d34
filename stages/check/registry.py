"""The catalogue of invariants: what each says, why, who lost runs to it, and what enforces it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from stages.check.context import Context
from stages.check.findings import Finding

Check = Callable[[Context], Iterator[Finding]]
Kind = Literal["static", "guard", "test"]


@dataclass(frozen=True)
class Invariant:
    """One rule.

    `kind` says where it can be decided: "static" from specs alone; "guard" on the built object, by the code that builds
    and runs a stage; "test" is a property of the code, checked by tests. `held_by` names the files that enforce what
    specs cannot show. `threads` are public reports of runs lost to it, as project#number.
    """

    id: str
    title: str
    rule: str
    why: str
    threads: tuple[str, ...]
    kind: Kind
    held_by: tuple[str, ...]
    check: Check | None


REGISTRY: dict[str, Invariant] = {}


def static(
    id: str, *, title: str, rule: str, why: str, threads: tuple[str, ...], held_by: tuple[str, ...] = ()
) -> Callable[[Check], Check]:
    """Registers a function that decides an invariant from specs."""

    def register(check: Check) -> Check:
        _add(Invariant(id, title, rule, why, threads, "static", held_by, check))
        return check

    return register


def held_by_code(
    id: str,
    kind: Literal["guard", "test"],
    *,
    title: str,
    rule: str,
    why: str,
    threads: tuple[str, ...],
    held_by: tuple[str, ...],
) -> None:
    """Registers an invariant that specs cannot decide, with the files that enforce it."""
    _add(Invariant(id, title, rule, why, threads, kind, held_by, None))


def _add(invariant: Invariant) -> None:
    if invariant.id in REGISTRY:
        raise ValueError(f"two invariants are called {invariant.id}")
    REGISTRY[invariant.id] = invariant
