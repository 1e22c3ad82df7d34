"""What a change does to a stage, in lines; and stages to which it does the same, together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stages.diff.curve import CurveChange
from stages.diff.fields import Field, text
from stages.diff.semantic import StageChange
from stages.plan import figures
from stages.spec.resolved_models import Rope

SHOWN_FIELDS = 4  # of one stage; the rest is counted
ARROW = "→"
IN_SHARE = (".corpus", ".group", ".digest")  # of a corpus that is new or gone
SCALINGS = ("llama3", "yarn")  # of rotary positions
DIGEST = re.compile(r"\b[0-9a-f]{32,}\b")
DIGITS = 12  # of a digest that is shown


@dataclass(frozen=True)
class Group:
    """Stages that change alike: the same lines are for each, the device-hours are those of all together."""

    changes: tuple[StageChange, ...]
    effects: tuple[str, ...]

    @property
    def refs(self) -> list[str]:
        """The stages' names."""
        return [one.ref for one in self.changes]

    @property
    def hours(self) -> tuple[float, float]:
        """Device-hours of all of them, before and after."""
        before, after = zip(*(one.device_hours for one in self.changes), strict=True)
        return sum(before), sum(after)


def grouped(changes: Sequence[StageChange]) -> list[Group]:
    """The changes by what they do, in the order of the first of each kind."""
    alike: dict[tuple[str, ...], list[StageChange]] = {}
    for change in changes:
        alike.setdefault(tuple(effects(change)), []).append(change)
    return [Group(tuple(ones), lines) for lines, ones in alike.items()]


def effects(change: StageChange) -> list[str]:
    """What the change does to one stage, except for its price; never nothing."""
    found = [f"LR {curve(change.lr)}"] if change.lr else []
    if change.rope:
        found.append(f"RoPE {_positions(*change.rope)}")
    found += _amounts(change)
    fields = [_pair(one) for one in change.fields if _is_shown(change, one)]
    more = len(fields) - SHOWN_FIELDS
    found += fields[:SHOWN_FIELDS] + ([f"and {more} more field{'s' * (more > 1)}"] if more > 0 else [])
    if any(one.is_range for one in change.fields):
        found.append("data: other ranges of its corpora")
    return found or ["other pieces of its schedule before its own"]


def _positions(old: Rope | None, new: Rope | None) -> str:
    """Both in a few words, and the fields that differ where those words are the same or do not have them."""
    before, after = figures.rope(old) or "none", figures.rope(new) or "none"
    words = before if before == after else f"{before} {ARROW} {after}"
    if old is None or new is None:
        return words
    found = []
    for name, one, other in (("", old, new), *((name, getattr(old, name), getattr(new, name)) for name in SCALINGS)):
        if one is not None and other is not None:
            for field in type(one).model_fields:
                pair = getattr(one, field), getattr(other, field)
                if pair[0] != pair[1] and field not in SCALINGS and not _in_words(field, *pair):
                    before, after = (text(value, field, exact=True) for value in pair)
                    found.append(f"{name}{'.' * bool(name)}{field} {before} {ARROW} {after}")
    return f"{words}{': ' if found else ''}{', '.join(found)}"


def _in_words(field: str, old: float, new: float) -> bool:
    """Whether the words of both say that this field differs."""
    if field == "base":
        return figures.rope(Rope(base=old, llama3=None, interpolation=1.0)) != figures.rope(
            Rope(base=new, llama3=None, interpolation=1.0)
        )
    return field in ("factor", "interpolation") and f"{old:g}" != f"{new:g}"


def _amounts(change: StageChange) -> list[str]:
    """Budget, clock and steps on one line."""
    found = []
    if change.tokens[0] != change.tokens[1]:
        found.append(f"budget {two(change.tokens, figures.tokens)} ({figures.signed_percent(*change.tokens)})")
    if change.steps[0] != change.steps[1]:
        found.append(f"steps {change.steps[0]} {ARROW} {change.steps[1]}")
    if change.clock[0] != change.clock[1]:
        before, after = ("nothing" if one is None else text(one, "clock_start") for one in change.clock)
        found.append(f"clock begins at {before} {ARROW} {after}")
    return [", ".join(found)] if found else []


def _is_shown(change: StageChange, field: Field) -> bool:
    """Whether a field is worth a line: not what follows from budgets, nor a single budget, which has one already, nor
    what is said by the name of a corpus or of a merge's parent, and by its share.
    """
    merged = field.path.startswith("merge.") and field.path.endswith(".parent")
    if merged or (".sources." in field.path and field.path.endswith(IN_SHARE)):
        return field.old is not None and field.new is not None
    budgets = sum(one.path.endswith(".budget") for one in change.fields)
    one_budget = budgets == 1 and field.path.endswith(".budget")
    return not (field.is_range or field.path.endswith(".clock_start") or one_budget)


def _pair(field: Field) -> str:
    return f"{field.path} {brief(field.old or 'nothing')} {ARROW} {brief(field.new or 'nothing')}"


def brief(whole: str) -> str:
    """A text with each digest cut to as many digits as tell two of them apart; `--json` has all of it."""
    return DIGEST.sub(lambda found: found[0][:DIGITS], whole)


def curve(change: CurveChange) -> str:
    """A change of the learning rate: peak, ends, where it begins to differ and how much it differs at most."""
    return "; ".join(filter(None, [", ".join(_points(change)), _extent(change)]))


def _points(change: CurveChange) -> Iterator[str]:
    """Peak and ends; one figure where the rate is the same throughout."""
    if change.start == change.end == change.peak:
        yield f"{_rate(change.start)} throughout"
        return
    yield (
        f"begins {_rate(change.start)}" if change.start != change.peak else f"begins at its peak, {_rate(change.peak)}"
    )
    if change.peak not in (change.start, change.end):
        yield f"peak {_rate(change.peak)}"
    yield f"ends {_rate(change.end)}" if change.end != change.peak else f"ends at its peak, {_rate(change.peak)}"


def _rate(pair: tuple[float, float]) -> str:
    return f"{figures.rate(pair[1])} as before" if pair[0] == pair[1] else two(pair, figures.rate)


def _extent(change: CurveChange) -> str:
    first = figures.tokens(change.first_clock)
    if change.largest == 0:
        return f"the same curve up to clock {first}, where the shorter ends"
    since = "from the first step on" if change.everywhere else f"from clock {first} on"
    amount = "from 0" if change.largest == float("inf") else f"{100 * change.largest:+.3g}% at most"
    return f"{amount}, {since}"


def two(pair: tuple[Any, Any], write: Any) -> str:
    """Two values with an arrow; their relative change where both would be the same text."""
    before, after = write(pair[0]), write(pair[1])
    return f"{before}, {figures.signed_percent(*pair)}" if before == after else f"{before} {ARROW} {after}"
