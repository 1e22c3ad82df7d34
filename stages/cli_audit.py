"""The commands about recipes of other trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.cli_options import RECIPES, Json

app = typer.Typer()


@app.command(rich_help_panel=RECIPES)
def audit(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Recipes of other trainers, or folders of them.")
    ],
    as_json: Json = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, for an issue or a pull request.")
    ] = False,
) -> None:
    """Report mistakes in recipes of other trainers, from their text alone; nothing of them is run.

    Example: `stages audit recipes/ --markdown`. It reads recipes of Megatron-LM and Megatron-Bridge, the Trainer,
    LLaMA-Factory, axolotl, nanotron, OLMo, OLMo-core, torchtitan, torchtune, llm-foundry and Levanter (docs/audit.md
    of Stages' repository).
    Exit code 1 if something is found.
    """
    from stages.commands.audit import audit as run_audit

    raise typer.Exit(run_audit(paths, as_json, markdown))


@app.command(rich_help_panel=RECIPES)
def adopt(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Recipes of other trainers, or folders of them.")
    ],
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="The pipeline that they become.")],
) -> None:
    """Write a recipe of another trainer as specs of this project; what it does not say is marked unknown.

    Example: `stages adopt recipes/ --as mine`. Each figure cites its file and line
    (docs/audit.md of Stages' repository).
    """
    from stages.commands.adopt import adopt as run_adopt

    raise typer.Exit(run_adopt(paths, name))
