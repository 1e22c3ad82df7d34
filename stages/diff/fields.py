"""Identity fields of a resolved stage that differ between two revisions, as text in the units of specs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stages.plan import figures
from stages.spec.frozen import Frozen
from stages.spec.key import identity
from stages.spec.quantities import split
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.spec.resolved_training import Schedule

SHOWN_OTHERWISE = frozenset({"schedule", "rope", "parents"})
TOKENS = frozenset({"budget", "context", "after", "original", "start", "end", "clock_start"})


@dataclass(frozen=True)
class Field:
    """An identity field that differs; None: there is no such field on that side."""

    path: str
    old: str | None
    new: str | None

    @property
    def is_range(self) -> bool:
        """Whether it is the stretch of a corpus that a phase reads, which follows from budgets."""
        return ".sources." in self.path and self.path.endswith((".start", ".end"))


def differing(old: Stage, new: Stage) -> Iterator[Field]:
    """Identity fields that differ, except what is shown in other words (LR, RoPE)."""
    before, after = dict(_leaves(old, "")), dict(_leaves(new, ""))
    for path in {**before, **after}:
        otherwise = path.split(".")[0] in SHOWN_OTHERWISE or (".sources." in path and path.endswith(".weight"))
        if before.get(path) != after.get(path) and not otherwise:
            yield Field(path, before.get(path), after.get(path))
    if old.parents != new.parents:
        yield Field("parents", ", ".join(old.parents), ", ".join(new.parents))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Identity fields by path, as text; phases and corpora go by their name."""
    if isinstance(value, Schedule):
        yield path, _curve(value)
    elif isinstance(value, Frozen):
        for name in identity(value):
            yield from _leaves(getattr(value, name), f"{path}.{name}" if path else name)
        if isinstance(value, Phase):
            yield from _shares(value, path)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _leaves(one, f"{path}.{key}")
    elif isinstance(value, tuple) and any(isinstance(one, Frozen) for one in value):
        for index, one in enumerate(value):
            yield from _leaves(one, f"{path}.{getattr(one, 'name', getattr(one, 'corpus', index))}")
    else:
        yield path, _text(value, path.rpartition(".")[2])


def _curve(schedule: Schedule) -> str:
    """The pieces of a schedule that gives a number."""
    return ", ".join(
        f"{one.shape} {one.first:g} to {one.last:g} until {figures.tokens(one.end)}" for one in schedule.pieces
    )


def _shares(phase: Phase, path: str) -> Iterator[tuple[str, str]]:
    """The share of each corpus in its group: weights are whole numbers that all change when one share does."""
    totals: Counter[str] = Counter()
    for source in phase.sources:
        totals[source.group] += source.weight
    for source in phase.sources:
        yield f"{path}.{source.corpus}.share", f"{100 * source.weight / totals[source.group]:.6g}%"


def _text(value: Any, name: str) -> str:
    """A value in the unit that specs write it in."""
    if isinstance(value, bool) or value is None:
        return str(value).lower() if value is not None else "none"
    if isinstance(value, int) and name in TOKENS:
        short = figures.tokens(value)
        return short if len(str(value)) > 4 and split(short, "")[0] == value else str(value)
    if isinstance(value, int) and name in ("sequences", "micro_batch"):
        return f"{value} seq"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return "[" + ", ".join(_text(one, name) for one in value) + "]"
    return str(value)
