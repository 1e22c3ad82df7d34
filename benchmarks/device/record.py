"""The text of results/records/gpu.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.device.rows import Row
from benchmarks.device.sections import Section

REHEARSED = "Rehearsal on a CPU, not a record: sizes are tiny and every figure is without meaning."
COLUMNS = ("what", "setting", "ours", "beside it", "ours / beside", "goal")


def page(
    date: str, machine: Iterable[str], sections: Mapping[Section, Sequence[Row]], left: Sequence[Section], dry: bool
) -> str:
    """The whole record: the machine, what failed, a table for each section that was run, and what was not run."""
    rows = [row for found in sections.values() for row in found]
    failed = sum(row.failed for row in rows)
    missed = sum("missed" in row.goal for row in rows)
    lines = [
        "# Measured: on one GPU",
        "",
        REHEARSED if dry else "Written by `make device`. Each figure and the one beside it were measured in this run.",
        "",
        f"{date}: {len(rows)} rows, {failed} failed, {missed} {'goal' if missed == 1 else 'goals'} missed.",
        "",
        *machine,
    ]
    for section, found in sections.items():
        lines += ["", f"## {section.title}", "", *table(found)]
    if left:
        lines += ["", "## Not run", "", *(f"- {section.title}" for section in left)]
    return "\n".join(lines) + "\n"


def table(rows: Sequence[Row]) -> list[str]:
    """A table without the columns that no row fills."""
    filled = [
        [row.what, row.setting, f"**{row.ours}**" if row.failed else row.ours, row.beside, row.ratio, row.goal]
        for row in rows
    ]
    kept = [i for i in range(len(COLUMNS)) if i == 0 or any(cells[i] for cells in filled)]
    table = [[COLUMNS[i] for i in kept], ["---"] * len(kept), *([cells[i] for i in kept] for cells in filled)]
    return ["| " + " | ".join(cells) + " |" for cells in table]
