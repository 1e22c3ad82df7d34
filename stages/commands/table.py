"""`stages table` and `stages pictures`: what every finished stage of a scale came to."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from stages.commands.find_project import named_refs, open_graph, open_project
from stages.printable import print_json
from stages.report.table import Mark
from stages.store.done import Verdict
from stages.store.layout import Layout
from stages.sync import graph
from stages.sync.verdicts import judge

WIDTH = 200


def print_table(scale: str, names: Sequence[str] = (), as_json: bool = False) -> int:
    """Print one table per pipeline, of all results or of those that are named, and mark those that are not current.

    A name is pipeline/stage, or a pipeline, which stands for all its stages. A result that cannot be read costs a line
    and makes the exit code 1. Raises UsageError for any other name, UserError when nothing has finished, and, after
    the tables, what is wrong with specs that cannot be read.
    """
    layout, _, loaded = open_graph(scale)
    from stages.report import collect, table
    from stages.terminal import console_of

    shown, unreadable = collect.readable(layout, named_refs(loaded, names) if names else ())
    if not shown and not unreadable and not collect.any_finished(layout):
        raise collect.nothing(layout)
    marks = _marks(layout, loaded) if shown else {}
    if as_json:
        print_json([table.as_json(one, marks) for one in shown])
    else:
        console = console_of(WIDTH)
        for one in table.rich_tables(scale, table.by_pipeline(shown, marks), console.width):
            console.print(one)
    for why in unreadable.values():
        print(f"stages: left out: {why}", file=sys.stderr)
    if not names:
        graph.refuse(loaded.unreadable)
    return 1 if unreadable else 0


def _marks(layout: Layout, loaded: graph.Graph) -> dict[str, Mark]:
    """The note on a result in place that is not the wanted one."""
    verdicts = judge(layout, loaded.stages, loaded.keys, tell_refused=True)
    return {ref: _mark(one) for ref, one in verdicts.items()}


def _mark(verdict: Verdict) -> Mark:
    if verdict.state == "unevaluated":
        return "to be evaluated"
    if verdict.done:
        return "current"
    return verdict.state if verdict.state in ("damaged", "unreadable") else "stale"


def draw_pictures(scale: str) -> None:
    """Draw the plots and pipeline pictures that finished stages lack, and name what was drawn.

    Raises, after the others, what is wrong with specs that cannot be read.
    """
    root, project = open_project(scale)
    from stages.report import picture

    written = picture.draw_missing(project, Layout(root, scale))
    last = f", the last {written[-1].relative_to(root)}" if written else f": no finished stage at {scale} lacks one"
    print(f"pictures: {len(written)} drawn{last}")
    graph.refuse(project.resolve_all(scale)[1])
