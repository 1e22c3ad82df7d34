"""Commands about what stages read: `data`, `tokenizer`, `release`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.cli_options import RUNS, Marker, Scale

app = typer.Typer()


@app.command(rich_help_panel=RUNS)
def data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A corpus of specs/data, or tokenizer: the local one.")],
    *,
    scale: Scale,
    accept: Annotated[
        bool, typer.Option("--accept", help="Print the declaration of what was built, to be put in its spec.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes that encode your own files; one per CPU if left out.")
    ] = None,
    show: Annotated[
        int | None,
        typer.Option("--show", metavar="N", min=1, help="Print N rows as prepared: what is learned, where it is from."),
    ] = None,
    marker: Marker = None,
) -> None:
    """Prepare a corpus, or the tokenizer.

    Example: `stages data prose --show 2`.
    """
    from stages.commands.data import prepare, print_declaration

    if show is not None:
        from stages.commands.data_shown import print_documents

        print_documents(name, scale, show)
    elif accept:
        print_declaration(name, processes, scale)
    else:
        prepare(name, scale, marker, processes)


@app.command(rich_help_panel=RUNS)
def tokenizer(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A tokenizer of specs/tokenizers.")],
    accept: Annotated[
        bool, typer.Option("--accept", help="Print the declaration of what is in its folder, to be put in its spec.")
    ] = False,
) -> None:
    """Check a published tokenizer's files against specs/tokenizers/NAME.yaml.

    Example: `stages tokenizer mine --accept`.
    """
    from stages.commands.tokenizer import check, print_declaration

    (print_declaration if accept else check)(name)


@app.command(rich_help_panel=RUNS)
def release(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A release of specs/releases.")],
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The released model's folder, in Hugging Face layout.")
    ],
    accept: Annotated[
        bool, typer.Option("--accept", help="Print the declaration of the folder, to be put in its spec.")
    ] = False,
) -> None:
    """Check a released model's folder against specs/releases/NAME.yaml.

    Example: `stages release llama31_8b ~/models/Llama-3.1-8B`.
    """
    from stages.commands.release import check, print_declaration

    (print_declaration if accept else check)(name, folder)
