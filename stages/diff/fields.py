"""Identity fields of a resolved stage that differ between two revisions, as text in the units of specs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
PHASES = "phases"  # of a stage
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
    """Identity fields that differ, except what is shown in other words (LR, RoPE).

    A phase that has another name goes by the newer one. Where six digits of two numbers are alike, both have all.
    """
    called = _renamed(old, new)
    before, after = dict(_leaves(old, "", called)), dict(_leaves(new, "", {}))
    for path in {**before, **after}:
        was, now = before.get(path), after.get(path)
        otherwise = path.split(".")[0] in SHOWN_OTHERWISE or (".sources." in path and path.endswith(".weight"))
        if was != now and not otherwise:
            full = was is not None and now is not None and was.short == now.short
            texts = [None if one is None else one.exact if full else one.short for one in (was, now)]
            yield Field(path, *texts)
    orders = dict(_orders(new, "", {}))
    for path, names in _orders(old, "", called):
        if pair := reordered(names, orders.get(path, [])):
            yield Field(f"{path}.order", *pair)
    if sorted(old.parents) != sorted(new.parents):
        yield Field("parents", ", ".join(old.parents), ", ".join(new.parents))


def reordered(old: Sequence[str], new: Sequence[str]) -> tuple[str, str] | None:
    """Names of two lists that stand in another order than before, from the first to the last of them."""
    was, now = [name for name in old if name in new], [name for name in new if name in old]
    moved = [place for place, (one, other) in enumerate(zip(was, now, strict=True)) if one != other]
    if not moved:
        return None
    between = slice(moved[0], moved[-1] + 1)
    return ", ".join(was[between]), ", ".join(now[between])


def _renamed(old: Stage, new: Stage) -> dict[str, str]:
    """New names of old phases: at the same place there is one whose name was not there."""
    names = {phase.name for phase in old.phases}, {phase.name for phase in new.phases}
    pairs = ((one.name, other.name) for one, other in zip(old.phases, new.phases, strict=False))
    return {was: now for was, now in pairs if was not in names[1] and now not in names[0]}


@dataclass(frozen=True)
class _Leaf:
    """A value as text: as it is shown, and with all its digits."""

    short: str
    exact: str


def _leaves(value: Any, path: str, called: Mapping[str, str]) -> Iterator[tuple[str, _Leaf]]:
    """Identity fields by path; phases and corpora go by their name, phases of `called` by another."""
    if isinstance(value, Schedule):
        yield path, _Leaf(_curve(value), _curve(value, exact=True))
    elif isinstance(value, Frozen):
        for name in identity(value):
            yield from _leaves(getattr(value, name), f"{path}.{name}" if path else name, called)
        if isinstance(value, Phase):
            yield from _shares(value, path)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _leaves(one, f"{path}.{key}", called)
    elif isinstance(value, tuple) and any(isinstance(one, Frozen) for one in value):
        for name, one in zip(_names(value), value, strict=True):
            yield from _leaves(one, f"{path}.{called.get(name, name) if path == PHASES else name}", called)
    else:
        name = path.rpartition(".")[2]
        yield path, _Leaf(text(value, name), text(value, name, exact=True))


def _orders(value: Any, path: str, called: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """The names of each list of named values, by its path, phases of `called` by another name."""
    if isinstance(value, Frozen):
        for name in identity(value):
            yield from _orders(getattr(value, name), f"{path}.{name}" if path else name, called)
    elif isinstance(value, tuple) and any(isinstance(one, Frozen) for one in value):
        names = [called.get(name, name) if path == PHASES else name for name in _names(value)]
        yield path, names
        for name, one in zip(names, value, strict=True):
            yield from _orders(one, f"{path}.{name}", called)


def _names(values: tuple[Any, ...]) -> list[str]:
    """What the items of a list are called: their name, their corpus, the parent of a merge, else their number."""
    return [
        next((getattr(one, key) for key in ("name", "corpus", "parent") if hasattr(one, key)), str(index))
        for index, one in enumerate(values)
    ]


def _curve(schedule: Schedule, exact: bool = False) -> str:
    """The pieces of a schedule that gives a number."""
    return ", ".join(
        f"{one.shape} {text(one.first, '', exact)} to {text(one.last, '', exact)} "
        f"until {one.end if exact else figures.tokens(one.end)}"
        for one in schedule.pieces
    )


def _shares(phase: Phase, path: str) -> Iterator[tuple[str, _Leaf]]:
    """The share of each corpus in its group: weights are whole numbers that all change when one share does."""
    totals: Counter[str] = Counter()
    for source in phase.sources:
        totals[source.group] += source.weight
    for source in phase.sources:
        share = 100 * source.weight / totals[source.group]
        yield f"{path}.{source.corpus}.share", _Leaf(f"{text(share, '')}%", f"{text(share, '', exact=True)}%")


def text(value: Any, name: str, exact: bool = False) -> str:
    """A value in the unit that specs write it in: a number with six digits, or with all of them."""
    if isinstance(value, bool) or value is None:
        return str(value).lower() if value is not None else "none"
    if isinstance(value, int) and name in TOKENS:
        short = figures.tokens(value)
        return short if len(str(value)) > 4 and split(short, "")[0] == value else str(value)
    if isinstance(value, int) and name in ("sequences", "micro_batch"):
        return f"{value} seq"
    if isinstance(value, float):
        return repr(value).removesuffix(".0") if exact else f"{value:.6g}"
    if isinstance(value, tuple) and name == "part":  # of a merge
        return "/".join(map(str, value))
    if isinstance(value, tuple):
        return "[" + ", ".join(text(one, name, exact) for one in value) + "]"
    return str(value)
