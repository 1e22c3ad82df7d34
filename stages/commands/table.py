"""`stages table` and `stages pictures`: what every finished stage of a scale came to."""

from __future__ import annotations

from stages.commands.open import open_project
from stages.store.layout import Layout

WIDTH = 160


def print_table(scale: str) -> None:
    """Print one table per pipeline; raises UserError when nothing has finished."""
    root, _ = open_project(scale)
    from rich.console import Console

    from stages.report import collect, table

    # Into a file or a log there is no width to fit into; folded columns would be unreadable there.
    console = Console() if Console().is_terminal else Console(width=WIDTH)
    for one in table.rich_tables(scale, table.by_pipeline(collect.finished(Layout(root, scale)))):
        console.print(one)


def draw_pictures(scale: str) -> None:
    """Draw the plots and pipeline pictures that finished stages lack, and name what was drawn."""
    root, project = open_project(scale)
    from stages.report import picture

    written = picture.draw_missing(project, Layout(root, scale))
    print(f"pictures: {len(written)} drawn" + (f", the last {written[-1].relative_to(root)}" if written else ""))
