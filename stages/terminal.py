"""What commands print with colours: rich's own control sequences, and none that came with a text."""

from __future__ import annotations

from collections.abc import Iterator

from rich import console
from rich.segment import Segment
from rich.table import Table

from stages.printable import printable


class Console(console.Console):
    """A console on which control characters of what is shown are spelled out."""

    def render(
        self, renderable: console.RenderableType, options: console.ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """The pieces of a renderable, with their styles."""
        for one in super().render(renderable, options):
            yield one if one.control else Segment(printable(one.text), one.style)


def console_of(width: int) -> Console:
    """The terminal's console; elsewhere, where there is no width to fit into, one of `width` columns."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(width=width, highlight=False)


def table(title: str) -> Table:
    """A table without lines, two spaces between its columns."""
    return Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
