"""A difference as one screen of text, as Markdown for a pull request, and as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from stages.diff.curve import CurveChange
from stages.diff.semantic import Difference, Field, StageChange
from stages.diff.written import Edit
from stages.plan import figures

SHOWN_FIELDS = 8  # of one stage; the rest is counted
SHOWN_EDITS = 20
ARROW = "→"


def text(found: Difference) -> str:
    """The whole difference, most important first; "no semantic change" where there is none."""
    lines = [f"{found.old} {ARROW} {found.new}, at {found.scale}"]
    lines += _edit_lines(found)
    if not found.semantic:
        return "\n".join([*lines, "", "no semantic change: every stage has the key it had."])
    if found.changed:
        lines += ["", f"changes ({len(found.changed)}):"]
        for change in found.changed:
            lines += _stage_lines(change)
    for title, refs in (
        ("added", found.added),
        ("removed", found.removed),
        ("stale downstream, the same work on other inputs", found.stale),
    ):
        if refs:
            lines += ["", f"{title} ({len(refs)}):", *_wrapped(refs)]
    return "\n".join([*lines, "", *_closing(found)])


def markdown(found: Difference) -> str:
    """The same for a pull request: a headline, a table of changed stages, the rest folded away."""
    head = f"### `stages diff` {found.old} {ARROW} {found.new}, at `{found.scale}`\n"
    if not found.semantic:
        told = "".join(f"- {line.strip()}\n" for line in _edit_lines(found) if line)
        return f"{head}\nNo semantic change: every stage has the key it had.\n" + (f"\n{told}" if told else "")
    parts = [head]
    parts += [f"- `{edit.where}` `{edit.key}`: {_pair(edit)}" for edit in found.edits[:SHOWN_EDITS] if edit.identity]
    if found.changed:
        parts += ["", "| stage | what changes |", "|---|---|"]
        parts += [f"| `{one.ref}` | {'<br>'.join(_effects(one))} |" for one in found.changed]
    for title, refs in (("Added", found.added), ("Removed", found.removed), ("Stale downstream", found.stale)):
        if refs:
            listed = ", ".join(f"`{ref}`" for ref in refs)
            parts += ["", f"<details><summary>{title}: {len(refs)}</summary>\n\n{listed}\n\n</details>"]
    return "\n".join([*parts, "", *(f"{line}  " for line in _closing(found))]) + "\n"


def as_json(found: Difference) -> dict[str, Any]:
    """Plain values; an infinite relative change (from a rate of 0) is null."""
    values = asdict(found) | {"semantic": found.semantic}
    for change in values["changed"]:
        change["rope"] = [None if side is None else side.model_dump() for side in change["rope"] or ()] or None
        if change["lr"] and change["lr"]["largest"] == float("inf"):
            change["lr"]["largest"] = None
    return values


def _edit_lines(found: Difference) -> list[str]:
    identity = [edit for edit in found.edits if edit.identity]
    other = [edit for edit in found.edits if not edit.identity]
    lines = []
    for title, edits in (("edited", identity), ("edited, how it is run and not what is computed", other)):
        if edits:
            lines += ["", f"{title}:"]
            lines += [f"  {edit.where}  {edit.key}: {_pair(edit)}" for edit in edits[:SHOWN_EDITS]]
            if len(edits) > SHOWN_EDITS:
                lines.append(f"  and {len(edits) - SHOWN_EDITS} more")
    return lines


def _pair(edit: Edit) -> str:
    if edit.old is None:
        return f"added {edit.new}"
    return f"removed (was {edit.old})" if edit.new is None else f"{edit.old} {ARROW} {edit.new}"


def _stage_lines(change: StageChange) -> Iterator[str]:
    effects = _effects(change)
    yield f"  {change.ref:<30} {effects[0]}"
    for effect in effects[1:]:
        yield f"  {'':<30} {effect}"


def _effects(change: StageChange) -> list[str]:
    found = [f"LR {_curve(change.lr)}"] if change.lr else []
    if change.rope:
        found.append(f"RoPE {figures.rope(change.rope[0]) or 'none'} {ARROW} {figures.rope(change.rope[1]) or 'none'}")
    if change.tokens[0] != change.tokens[1]:
        found.append(f"budget {_two(change.tokens, figures.tokens)} ({figures.signed_percent(*change.tokens)})")
    if change.steps[0] != change.steps[1]:
        found.append(f"steps {change.steps[0]} {ARROW} {change.steps[1]}")
    if change.device_hours[0] != change.device_hours[1]:
        found.append(f"GPU-hours {_two(change.device_hours, figures.short)}")
    fields = [f"{one.path} {one.old or 'nothing'} {ARROW} {one.new or 'nothing'}" for one in _told(change)]
    if ranges := {one.path.rpartition(".")[0] for one in change.fields if _is_range(one)}:
        fields.append(f"data: ranges of corpora move ({len(ranges)})")
    more = len(fields) - SHOWN_FIELDS
    return found + fields[:SHOWN_FIELDS] + ([f"and {more} more fields"] if more > 0 else [])


def _told(change: StageChange) -> list[Field]:
    """Fields worth a line: not those that follow from budgets, nor a single budget, which has a line of its own."""
    budgets = [one for one in change.fields if one.path.endswith(".budget")]
    return [
        one
        for one in change.fields
        if not (_is_range(one) or one.path.endswith(".clock_start") or (len(budgets) == 1 and one in budgets))
    ]


def _is_range(field: Field) -> bool:
    """Whether a field is the stretch of a corpus that a phase reads, which follows from budgets."""
    return ".sources." in field.path and field.path.endswith((".start", ".end"))


def _curve(change: CurveChange) -> str:
    if change.largest == 0:
        return f"the same curve, cut elsewhere: ends {_two(change.end, figures.rate)}"
    amount = "from 0" if change.largest == float("inf") else f"{100 * change.largest:+.3g}%"
    since = "" if change.everywhere else f" from clock {figures.tokens(change.first_clock)} on"
    if change.start == change.end:
        return f"{_two(change.start, figures.rate)} at both ends, {amount} at most{since}"
    ends = [
        f"{name} at {figures.rate(new)} as before" if old == new else f"{name} {_two((old, new), figures.rate)}"
        for name, (old, new) in (("begins", change.start), ("ends", change.end))
    ]
    return f"{', '.join(ends)}, {amount} at most{since}"


def _two(pair: tuple[Any, Any], write: Any) -> str:
    return f"{write(pair[0])} {ARROW} {write(pair[1])}"


def _closing(found: Difference) -> list[str]:
    tokens = "unchanged" if found.tokens[0] == found.tokens[1] else _two(found.tokens, figures.tokens)
    rope = [change.ref for change in found.changed if change.rope]
    before, after = found.device_hours
    hours = "unchanged" if before == after else f"{_two(found.device_hours, figures.short)}"
    rerun = len(found.changed) + len(found.stale) + len(found.added)
    cost = figures.short(found.rerun_hours)
    return [
        f"tokens: {tokens}; RoPE: {'unchanged' if not rope else f'changed in {len(rope)}'}; "
        f"GPU-hours of all pipelines: {hours} ({found.hardware}, without readings)",
        f"to be run again: {rerun} stages, {cost} GPU-hours without readings; {found.unchanged} stay as they are",
    ]


def _wrapped(refs: Sequence[str]) -> Iterator[str]:
    line = " "
    for ref in refs:
        if len(line) + len(ref) > 110:
            yield line
            line = " "
        line += f" {ref}"
    yield line
