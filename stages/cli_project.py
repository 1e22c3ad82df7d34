"""Commands about a project as a whole: `init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where there is nothing yet, or an empty directory.")],
    example: Annotated[str, typer.Option("--example", help="The pipeline that it begins with.")] = "tiny",
) -> None:
    """Make a project of your own that runs at once: specs, Snakefile, DVC, CI. Example: stages init mine."""
    from stages.commands.init import create

    create(folder, example)
