"""A difference as Markdown for a pull request, and as plain values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from stages.diff import edit_lines, totals
from stages.diff.effects import ARROW, grouped
from stages.diff.screen import renamed
from stages.diff.semantic import Difference

SHOWN_EDITS = 20


def markdown(found: Difference) -> str:
    """A headline, a table of changed stages, the rest folded away."""
    parts = [f"### `stages diff` {found.old} {ARROW} {found.new}, at `{found.scale}`\n"]
    if not found.semantic:
        parts.append("No semantic change: every stage has the key it had.\n")
    edits = [*edit_lines.scalars(found.edits)]
    parts += [f"- {_code(line)}" for line in edits[:SHOWN_EDITS]]
    parts += [f"- and {len(edits) - SHOWN_EDITS} more edits"] * (len(edits) > SHOWN_EDITS)
    parts += [f"- waiver {edit_lines.waiver(one)}" for one in found.waivers]
    parts += [f"- source {edit_lines.mark(one)}" for one in found.marks]
    parts += [f"- edited under the source that they had: {edit_lines.source(one)}" for one in found.kept]
    if found.changed:
        parts += ["", "| stage | what changes |", "|---|---|"]
        for group in grouped(found.changed):
            parts.append(f"| {'<br>'.join(f'`{ref}`' for ref in group.refs)} | {'<br>'.join(group.effects)} |")
    for title, refs in (
        ("The same work under another name", renamed(found)),
        ("Added", found.added),
        ("Removed", found.removed),
        ("Stale downstream", found.stale),
    ):
        if refs:
            listed = ", ".join(f"`{ref}`" for ref in refs)
            parts += ["", f"<details><summary>{title}: {len(refs)}</summary>\n\n{listed}\n\n</details>"]
    sums = ["", *(f"{line}  " for line in totals.lines(found))] if found.semantic else []
    return "\n".join([*parts, *sums, *(f"\n{line}" for line in found.elsewhere)]) + "\n"


def _code(line: str) -> str:
    """The place and the key of an edit as code."""
    where, _, rest = line.partition("  ")
    key, colon, what = rest.partition(": ")
    return f"`{where}` `{key}`: {what}" if colon else f"`{where}` {rest}"


def as_json(found: Difference) -> dict[str, Any]:
    """Plain values; an infinite relative change (from a rate of 0) is null."""
    values = asdict(found) | {"semantic": found.semantic}
    for change in values["changed"]:
        change["rope"] = [None if side is None else side.model_dump() for side in change["rope"] or ()] or None
        if change["lr"] and change["lr"]["largest"] == float("inf"):
            change["lr"]["largest"] = None
    for change in values["waivers"]:
        for name in ("waiver", "before"):
            change[name] = change[name].model_dump() if change[name] is not None else None
    return values
