"""Commands that say what a run read, and whether it computed what it says; and those that sign and check results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.cli_options import FORENSICS, Json, Ref, Releases, Scale
from stages.commands.collection import uncollected

app = typer.Typer()


@app.command(rich_help_panel=FORENSICS)
@uncollected()
def batch(
    ref: Ref,
    step: Annotated[int, typer.Option("--step", help="A step of the stage, from 1, as metrics.csv counts them.")],
    text: Annotated[bool, typer.Option("--text", help="Print the rows' text, and what of it is learned.")] = False,
    as_json: Json = False,
    *,
    scale: Scale,
) -> None:
    """Show what a step reads, run or not: rows, documents, spans.

    Example: `stages batch ouro/warmup --step 12`.
    """
    from stages.commands.batch import print_batch

    print_batch(ref, step, scale, text, as_json)


@app.command(rich_help_panel=FORENSICS)
@uncollected()
def where(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="A corpus of specs/data.")],
    document: Annotated[int, typer.Argument(metavar="DOC", help="Its number, from 1, as `batch` prints it.")],
    pipeline: Annotated[str | None, typer.Option("--pipeline", help="One pipeline; all of them if left out.")] = None,
    as_json: Json = False,
    *,
    scale: Scale,
) -> None:
    """List the steps of all stages that read a document.

    Example: `stages where prose 12 --pipeline ouro`.
    """
    from stages.commands.where import print_where

    print_where(corpus, document, pipeline, scale, as_json)


@app.command(rich_help_panel=FORENSICS)
def replay(
    ref: Ref,
    steps: Annotated[
        str | None, typer.Option("--steps", metavar="A..B", help="Recorded steps, from 1; also A.. or A.")
    ] = None,
    releases: Releases = None,
    as_json: Json = False,
    *,
    scale: Scale,
) -> None:
    """Compute recorded steps again and compare every bit; nothing is written. Exit code 1 where something differs.

    Example: `stages replay llama31_1m/sft_32k --steps 10..20`.

    Where every bit is equal, odd steps come from data or recipe; where not, from the machine. A merge, an upcycling, an
    import, an export and a pointer have no steps: without --steps they are made again from their parents.
    """
    from stages.commands.replay import print_replay

    raise typer.Exit(print_replay(ref, steps, scale, releases, as_json))


@app.command(rich_help_panel=FORENSICS)
def spike(
    ref: Ref,
    again: Annotated[bool, typer.Option("--replay", help="Compute these steps again, and compare every bit.")] = False,
    releases: Releases = None,
    as_json: Json = False,
    *,
    scale: Scale,
) -> None:
    """List steps whose loss or gradient norm stands out, and what they read.

    Example: `stages spike llama31_1m/sft_1m`.
    """
    from stages.commands.spike import print_spikes

    raise typer.Exit(print_spikes(ref, scale, again, releases, as_json))


@app.command(rich_help_panel=FORENSICS)
def sign(
    ref: Ref,
    key: Annotated[Path, typer.Option("--key", help="A private key (Ed25519) in PEM, without a password.")],
    *,
    scale: Scale,
) -> None:
    """Sign a finished stage: its files, its parents, what made it.

    Example: `stages sign llama31_1m/base --key key.pem`.
    """
    from stages.commands.sign import sign as write

    write(ref, scale, key)


@app.command(rich_help_panel=FORENSICS)
def verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The result of a stage, its envelope beside it.")],
    key: Annotated[Path, typer.Option("--key", help="The public key in PEM.")],
    intervals: Annotated[int, typer.Option("--replay", metavar="K", min=0, help="Replay K random intervals.")] = 0,
    releases: Releases = None,
) -> None:
    """Check a result and all it descends from against what was signed; exit code 1 where something was changed.

    Example: `stages verify results/mini/llama31_1m/base --key public.pem --replay 3`.
    """
    from stages.commands.sign import verify as check

    raise typer.Exit(check(folder, key, intervals, releases))
