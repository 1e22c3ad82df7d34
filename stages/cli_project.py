"""Commands about a project as a whole: `init`, `upgrade`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.cli_options import PROJECT

app = typer.Typer()


@app.command(rich_help_panel=PROJECT)
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where there is nothing yet, or an empty directory.")],
    example: Annotated[str, typer.Option("--example", help="tiny, llama31_1m, kimi_vl or ouro.")] = "tiny",
) -> None:
    """Make a project of your own that runs at once: specs, Snakefile, DVC, CI.

    Example: `stages init mine`.
    """
    from stages.commands.init import create

    create(folder, example)


@app.command(rich_help_panel=PROJECT)
def upgrade(
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite what was edited here too, and write again what was removed.")
    ] = False,
) -> None:
    """Move a project's Snakefile, rules, profiles and CI to the installed version.

    Example: `stages upgrade`.

    A file that was edited here is left: what would change is shown, and the new one is put beside it as FILE.new.
    """
    from stages.commands.upgrade import run_upgrade

    raise typer.Exit(run_upgrade(force))
