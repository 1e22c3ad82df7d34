"""Commands about all results, finished and running: from `status` and `watch` to `gc` and `record-dvc`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.cli_options import RESULTS, RUNS, Json, Names, Ref, Scale
from stages.commands.collection import uncollected

app = typer.Typer()


@app.command(rich_help_panel=RUNS)
def status(
    names: Names = None,
    *,
    scale: Scale,
    deep: Annotated[bool, typer.Option("--deep", help="Read every digest again.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Only what has failed or was stopped.")] = False,
    as_json: Json = False,
) -> None:
    """Show each stage's state: done, unevaluated, stale or damaged (and why), missing, running, stopped, or failed.

    Example: `stages status ouro --failed`.
    """
    from stages.commands.status import print_status

    raise typer.Exit(print_status(scale, names or (), deep, failed, as_json))


@app.command(rich_help_panel=RUNS)
def watch(names: Names = None, *, scale: Scale) -> None:
    """Show running stages until Ctrl-C, which ends nothing else: step, loss, speed, time left, last checkpoint.

    Example: `stages watch ouro llama31_1m/base`.
    """
    from stages.commands.watch import watch as show_running

    show_running(scale, names or ())


@app.command(rich_help_panel=RUNS)
def track(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="PIPELINE[/STAGE]", help="Which results; all of them if left out.")
    ] = None,
    *,
    scale: Scale,
) -> None:
    """Send what the trackers of tracking.yaml lack: metrics, evaluations, lineage. Runs do so as they go.

    Example: `stages track ouro --scale small`.
    """
    from stages.commands.track import track as send

    raise typer.Exit(send(names or (), scale))


@app.command(rich_help_panel=RESULTS)
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A result folder, or PIPELINE/STAGE[@SCALE|@KEY|@REV].")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    *,
    scale: Scale,
    as_json: Json = False,
) -> None:
    """Compare two finished runs: first divergent step, largest difference, final evaluations.

    Example: `stages compare ouro/warmup ouro/warmup@mini_seed2`.
    """
    from stages.commands.compare import print_compare

    raise typer.Exit(print_compare(first, second, scale, as_json))


@app.command(rich_help_panel=RESULTS)
@uncollected()
def table(names: Names = None, *, scale: Scale, as_json: Json = False) -> None:
    """Print a table of finished stages: budgets, losses, evaluations, time, and which results are stale.

    Example: `stages table ouro llama31_1m/instruct`.
    """
    from stages.commands.table import print_table

    raise typer.Exit(print_table(scale, names or (), as_json))


@app.command(rich_help_panel=RESULTS)
def sweep(
    ref: Ref,
    *,
    scale: Scale,
    as_json: Json = False,
    out: Annotated[Path | None, typer.Option("--out", help="Where to write a picture (PNG) of all variants.")] = None,
) -> None:
    """Print the variants of a stage in one table, and which is best.

    Example: `stages sweep mine/decay --out decay.png`.
    """
    from stages.commands.sweep import print_sweep

    print_sweep(ref, scale, as_json, out)


@app.command(rich_help_panel=RESULTS)
def history(ref: Ref, *, scale: Scale, as_json: Json = False) -> None:
    """List a stage's results that are still there, earlier ones too.

    Example: `stages history ouro/warmup`.
    """
    from stages.commands.history import print_history

    raise typer.Exit(print_history(ref, scale, as_json))


@app.command(rich_help_panel=RESULTS)
def report(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="PIPELINE", help="Which pipelines; all published ones if left out.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="A new folder, or an earlier report's, which is replaced.")] = ...,  # type: ignore[assignment]
    *,
    scale: Scale,
) -> None:
    """Write a folder of static pages: graph, curves, evaluations, hand-overs, budgets.

    Example: `stages report --out report`.
    """
    from stages.commands.report import write_report

    write_report(names or (), scale, out)


@app.command(rich_help_panel=RESULTS)
def pictures(*, scale: Scale) -> None:
    """Draw the plots of finished stages, and each pipeline's learning rate over all its tokens.

    Example: `stages pictures --scale mini`.
    """
    from stages.commands.table import draw_pictures

    draw_pictures(scale)


@app.command(rich_help_panel=RESULTS)
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would go, and its bytes.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it.")] = False,
    keep: Annotated[int, typer.Option("--keep", min=0, help="Earlier results to keep for each stage.")] = 3,
) -> None:
    """Remove checkpoints of finished stages and old results that newer ones replaced; never a result in place.

    Example: `stages gc --dry-run`.
    """
    from stages.commands.gc import collect

    collect(dry_run, delete, keep)


@app.command("record-dvc", rich_help_panel=RESULTS)
def record_dvc() -> None:
    """Record finished results in DVC, having checked that every stage of dvc.yaml is done.

    Example: `stages record-dvc`.
    """
    from stages.commands.record import record

    record()
