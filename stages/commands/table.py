"""`stages table`: what every finished stage of a scale came to."""

from __future__ import annotations

from stages.commands.open import open_project
from stages.store.layout import Layout


def print_table(scale: str) -> None:
    """Print one table per pipeline; raises UserError when nothing has finished."""
    root, _ = open_project(scale)
    from rich.console import Console

    from stages.report import collect, table

    for one in table.rich_tables(scale, table.by_pipeline(collect.finished(Layout(root, scale)))):
        Console().print(one)
