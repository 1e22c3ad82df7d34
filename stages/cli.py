"""The command `stages`. Each word imports what it needs when it is typed, so that the command itself starts at once."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from stages import __version__, cli_audit, cli_finished, cli_forensics, cli_inputs, cli_project, cli_results, streams
from stages.cli_options import RUNS, SPECS, Json, Marker, Names, Ref, Releases, Scale
from stages.commands.collection import uncollected
from stages.errors import UserError, for_user

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Train language models in several stages, with checked hand-overs.",
    epilog="Begin with `stages init DIR`, which makes a project that runs at once. In a project, `stages status` says "
    "what is done and what to type next.",
)
app.add_typer(cli_inputs.app)
app.add_typer(cli_results.app)
app.add_typer(cli_project.app)
app.add_typer(cli_finished.app)
app.add_typer(cli_forensics.app)
app.add_typer(cli_audit.app)


def main() -> None:
    """Run the command; a user's mistake is printed without a traceback. Exit codes: 0, 1 (result), 2 (command line)."""
    streams.open_missing()
    try:
        _refuse_without_a_directory()
        app()
    except Exception as error:
        if (reported := for_user(error)) is None:
            raise
        if reported.resumable:
            from stages.train.stopping import ignore_requests

            ignore_requests()
        print(f"stages: {reported}", file=sys.stderr)
        sys.exit(reported.exit_code)
    finally:
        gc.freeze()  # else Python searches everything for reference cycles once more before the process ends


def _refuse_without_a_directory() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError(
            "the current directory is not there any more: it was moved or removed, as `git checkout` of another branch "
            'does. Type `cd "$PWD"` where it is there again, else go where the project is, and give the command again.'
        ) from None


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"stages {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """What may be given before any command."""


@app.command("list", rich_help_panel=SPECS)
def list_(names: Names = None, *, scale: Scale, as_json: Json = False) -> None:
    """List pipelines and their stages.

    Example: `stages list ouro --scale paper`.
    """
    from stages.commands.listing import print_list

    print_list(scale, names or (), as_json)


@app.command(rich_help_panel=SPECS)
def show(
    name: Annotated[str, typer.Argument(metavar="PIPELINE[/STAGE]", help="One stage, or all of a pipeline.")],
    *,
    scale: Scale,
    as_json: Json = False,
) -> None:
    """Show a stage, or each stage of a pipeline, as it will be run.

    Example: `stages show ouro/warmup`.
    """
    from stages.commands.show import print_stages

    print_stages(name, scale, as_json)


@app.command(rich_help_panel=SPECS)
def schema(
    out: Annotated[Path | None, typer.Option("--out", help="A folder for one file each, such as .schemas.")] = None,
) -> None:
    """Print the JSON Schemas of the spec files, slurm/site.yaml and tracking.yaml, for editors.

    Example: `stages schema --out .schemas`, which the first lines of a project's specs name.
    """
    from stages.commands.listing import print_schema

    print_schema(out)


@app.command(rich_help_panel=SPECS)
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new pipeline.")],
    base: Annotated[str, typer.Option("--from", metavar="PIPELINE", help="What it extends.")],
) -> None:
    """Start a pipeline of your own that extends another.

    Example: `stages new mine --from llama31_1m`.
    """
    from stages.commands.new import create

    create(name, base)


@app.command(rich_help_panel=SPECS)
@uncollected()
def check(
    names: Names = None,
    scale: Annotated[str | None, typer.Option("--scale", help="One scale; all of them if left out.")] = None,
    as_json: Json = False,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="I-04", help="One invariant; repeatable.")] = None,
    explain: Annotated[str | None, typer.Option("--explain", metavar="I-04", help="What an invariant is for.")] = None,
) -> None:
    """Check specs and hand-overs, without training: totals, learning rates, contexts, data ranges, and more.

    Example: `stages check ouro --scale paper`.
    """
    from stages.commands.check import print_explanation, run_checks

    raise typer.Exit(print_explanation(explain) if explain else run_checks(scale, as_json, only or (), names or ()))


@app.command(rich_help_panel=SPECS)
def plan(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="PIPELINE[/STAGE]", help="Which ones; all published pipelines if left out."),
    ] = None,
    scale: Annotated[str | None, typer.Option("--scale", help="A scale; if left out, paper, else mini.")] = None,
    hardware: Annotated[
        str | None, typer.Option("--hardware", help="A profile of specs/hardware; by default one that fits the scale.")
    ] = None,
    measured: Annotated[bool, typer.Option("--measured", help="Compare predictions with finished runs.")] = False,
    as_json: Json = False,
) -> None:
    """Estimate what pipelines take: tokens, steps, rates, parameters, FLOPs, time, memory, disk.

    Example: `stages plan ouro --scale paper --hardware h100`.
    """
    from stages.commands.plan import print_plan

    print_plan(names or (), scale, hardware, measured, as_json)


@app.command(rich_help_panel=SPECS)
def diff(
    old: Annotated[str, typer.Argument(metavar="REV", help="A git revision.")] = "HEAD",
    new: Annotated[str | None, typer.Argument(metavar="REV", help="Another; the work tree if left out.")] = None,
    scale: Annotated[str | None, typer.Option("--scale", help="A scale; if left out, paper, else mini.")] = None,
    hardware: Annotated[
        str | None, typer.Option("--hardware", help="A profile of specs/hardware that device-hours are counted on.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a pull-request comment.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a change of the specs does: stages changed, stages stale, learning rate, tokens, RoPE, device-hours.

    Example: `stages diff main --markdown`.
    """
    from stages.commands.diff import print_diff

    print_diff(old, new, scale, hardware, markdown, as_json)


@app.command(rich_help_panel=SPECS)
def sync(
    *,
    scale: Scale,
    only_check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if something would change.")
    ] = False,
) -> None:
    """Write rules/*.smk and dvc.yaml from the specs.

    Example: `stages sync --check`.
    """
    from stages.commands.sync import run_sync

    raise typer.Exit(run_sync(scale, only_check))


@app.command(rich_help_panel=RUNS)
def run(
    ref: Ref,
    *,
    scale: Scale,
    releases: Releases = None,
    marker: Marker = None,
    train_again: Annotated[
        bool,
        typer.Option(
            "--train-again", help="Of a point (TRUNK@COUNT) without a checkpoint: train its trunk again up to there."
        ),
    ] = False,
) -> None:
    """Run one stage, whose parents must be done; one that was stopped goes on. This is what the rules call.

    Example: `stages run ouro/warmup`.
    """
    from stages.commands.run import run_stage
    from stages.train.stopping import ignore_requests

    run_stage(ref, scale, releases, marker, train_again)
    ignore_requests()


@app.command(rich_help_panel=RUNS)
def emit(
    ref: Ref,
    *,
    scale: Scale,
    releases: Releases = None,
    engine_config: Annotated[
        bool, typer.Option("--engine-config", help="Print the NeMo engine's whole configuration as YAML instead.")
    ] = False,
) -> None:
    """Print a stage's batch script for Slurm, for review or for `| sbatch`.

    Example: `stages emit ouro/warmup --scale paper`.
    """
    from stages.commands.emit import print_engine_config, print_script

    if engine_config:
        print_engine_config(ref, scale)
    else:
        print_script(ref, scale, releases)
