"""`stages table` and `stages pictures`: what every finished stage of a scale came to."""

from __future__ import annotations

from collections.abc import Sequence

from stages.commands.open import known_pipeline, open_project, pick
from stages.report.table import Mark
from stages.store.layout import Layout
from stages.sync import graph
from stages.sync.verdicts import judge

WIDTH = 160


def print_table(scale: str, names: Sequence[str] = ()) -> None:
    """Print one table per pipeline, of all results or of those that are named, and mark those that are not current.

    A name is pipeline/stage, or a pipeline, which stands for all its boxes. Raises UsageError for any other, UserError
    when nothing has finished.
    """
    root, project = open_project(scale)
    from rich.console import Console

    from stages.report import collect, table

    loaded, layout = graph.load(root, project, scale), Layout(root, scale)
    asked = _asked(loaded, names)
    results = collect.finished(layout)
    shown = [one for one in results if not names or collect.name(one) in asked]
    # Into a file or a log there is no width to fit into; folded columns would be unreadable there.
    console = Console() if Console().is_terminal else Console(width=WIDTH)
    for one in table.rich_tables(scale, table.by_pipeline(shown, _marks(layout, loaded))):
        console.print(one)


def _asked(loaded: graph.Graph, names: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        if "/" in name:
            pick(loaded.stages, name)
            found.add(name)
        else:
            found |= set(loaded.boxes[known_pipeline(name, sorted(loaded.boxes))])
    return found


def _marks(layout: Layout, loaded: graph.Graph) -> dict[str, Mark]:
    """What is to be said of a result in place that is not the wanted one."""
    verdicts = judge(layout, loaded.stages, loaded.keys)
    return {ref: "current" if one.done else "stale" for ref, one in verdicts.items()}


def draw_pictures(scale: str) -> None:
    """Draw the plots and pipeline pictures that finished stages lack, and name what was drawn."""
    root, project = open_project(scale)
    from stages.report import picture

    written = picture.draw_missing(project, Layout(root, scale))
    print(f"pictures: {len(written)} drawn" + (f", the last {written[-1].relative_to(root)}" if written else ""))
