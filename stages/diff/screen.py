"""A difference as one screen of text: at most 40 lines of 120 columns, the most important first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from stages.diff import edit_lines, totals
from stages.diff.effects import ARROW, Group, grouped, two
from stages.diff.semantic import Difference
from stages.plan import figures

LINES, WIDTH = 40, 120
LISTED = 3  # lines of names of stages that are stale, added or removed
NAMED = 2  # lines of names of stages that change alike
INDENT = "  "  # of those lines
LEAST = 12  # lines that changes need at least
SHARES = (1.0, 0.6, 0.3, 0.0)  # how much of its lines each other section keeps, the largest that leaves those lines
UNCHANGED = "no semantic change: every stage has the key it had."


def text(found: Difference) -> str:
    """The whole difference; what does not fit is counted, and `--json` has all of it."""
    for share in SHARES:
        head = [f"{found.old} {ARROW} {found.new}, at {found.scale}", *edit_lines.lines(found, share)]
        tail = _tail(found, share) if found.semantic else ["", UNCHANGED]
        tail += ["", *found.elsewhere] if found.elsewhere else []
        most = LINES - len(head) - len(tail)
        if most >= (LEAST if found.changed else 0):
            break
    body = _changes(found, most) if found.changed else []
    return "\n".join(edit_lines.shortened(line, WIDTH) for line in [*head, *body, *tail])


def _tail(found: Difference, share: float) -> list[str]:
    """Names of stages that do not change alone, and the sums."""
    lines = []
    for title, refs in (
        ("the same work under another name, nothing is run", renamed(found)),
        ("added", found.added),
        ("removed", found.removed),
        ("stale downstream, the same work on other inputs", found.stale),
    ):
        if refs:
            names = _limited(_wrapped(by_pipeline(refs)), max(1, int(LISTED * share)))
            lines += ["", f"{title} ({len(refs)}):", *names]
    return [*lines, "", *totals.lines(found)]


def _changes(found: Difference, most: int) -> list[str]:
    """Stages that change alike, each kind with its effects, as many kinds as fit."""
    groups = grouped(found.changed)
    kinds = f", in {len(groups)} ways" if len(groups) > 1 else ""
    lines = ["", f"changes ({len(found.changed)}{kinds}):"]
    for number, group in enumerate(groups):
        block = list(_block(group, found.hours))
        last = number == len(groups) - 1
        if number == 0 and len(lines) + len(block) + (not last) > most:  # of the first kind, what fits
            fits = max(2, most - len(lines) - 1 - (not last))
            block = [*block[:fits], f"      and {len(block) - fits} more lines (--json has them)"]
        elif len(lines) + len(block) + (not last) > most:
            rest = sum(len(one.changes) for one in groups[number:])
            stages, ways = f"{rest} more stage{'s' * (rest > 1)}", len(groups) - number
            return [*lines, f"  and {stages}, in {ways} more way{'s' * (ways > 1)} (--json has them)"]
        lines += block
    return lines


def _block(group: Group, unit: str) -> Iterator[str]:
    """The names of the stages, and below them what is true of each; then the price of all of them."""
    yield from _limited(_wrapped(by_pipeline(group.refs)), NAMED)
    for effect in group.effects:
        yield f"      {effect}"
    if group.hours[0] != group.hours[1]:
        yield f"      {unit}{' of all of them' if len(group.changes) > 1 else ''} {two(group.hours, figures.short)}"


def renamed(found: Difference) -> list[str]:
    """New names of known work: `old → new` where the old name is gone, `new = old` where both are there."""
    lines = []
    for one in found.shared:
        pipeline, _, stage = one.new.partition("/")
        short = stage if one.old.startswith(f"{pipeline}/") else one.new
        lines.append(f"{one.old} {ARROW} {short}" if one.renamed else f"{one.new} = {one.old}")
    return lines


def by_pipeline(refs: Sequence[str]) -> list[str]:
    """Names without their pipeline, after the first of each pipeline: ouro/warmup, stable_1, kimi_vl/vit_coca."""
    named = []
    for _, same in groupby(refs, key=lambda ref: ref.partition("/")[0]):
        first, *others = same
        named += [first, *(ref.partition("/")[2] for ref in others)]
    return named


def _wrapped(names: Sequence[str]) -> list[tuple[str, int]]:
    """Lines of names, each with how many it contains."""
    lines: list[tuple[str, int]] = []
    line, count = INDENT, 0
    for number, name in enumerate(names):
        word = name + ("," if number < len(names) - 1 else "")
        if count and len(line) + len(word) > WIDTH - 10:
            lines.append((line.rstrip(), count))
            line, count = INDENT, 0
        line, count = f"{line}{word} ", count + 1
    return [*lines, (line.rstrip(), count)]


def _limited(lines: Sequence[tuple[str, int]], most: int) -> list[str]:
    """The first lines; the names on the others are counted."""
    shown = [line for line, _ in lines[:most]]
    more = sum(count for _, count in lines[most:])
    if more:
        last = shown[-1].rstrip(",")
        while len(f"{last} and {more} more") > WIDTH and ", " in last:
            last, more = last.rpartition(", ")[0], more + 1
        shown[-1] = f"{last} and {more} more"
    return shown
