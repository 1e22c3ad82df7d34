"""Commands about a finished stage: `export`, `generate`, `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.cli_options import RESULTS, Json, Ref, Scale

app = typer.Typer()


@app.command(rich_help_panel=RESULTS)
def export(
    ref: Ref,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder, outside results/.")],
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="Type of the weights: fp32 or bf16. It has no default.")
    ] = None,
    shard_size: Annotated[str, typer.Option("--shard-size", help="Largest file of weights.")] = "5GB",
    licence: Annotated[
        str | None, typer.Option("--licence", help="Licence of a model that descends from no release.")
    ] = None,
    licence_file: Annotated[
        Path | None, typer.Option("--licence-file", help="The text of --licence, copied as LICENSE.")
    ] = None,
    *,
    scale: Scale,
) -> None:
    """Write a finished stage as a folder that transformers loads: weights, tokenizer, model card.

    Example: `stages export llama31_1m/instruct exports/instruct --dtype fp32`.
    """
    from stages.commands.export import export as write

    write(ref, folder, scale, dtype, shard_size, licence, licence_file)


@app.command(rich_help_panel=RESULTS)
def generate(
    ref: Ref,
    prompt: Annotated[str, typer.Option("--prompt", help="What the text begins with.")],
    chat: Annotated[
        bool, typer.Option("--chat", help="The prompt is a user's turn, by the tokenizer's chat template.")
    ] = False,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Largest number of tokens to write.")] = 128,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Sampling temperature; greedy if left out.")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option("--top-p", help="Sample from the most likely tokens that add up to this probability."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Random seed of the sampling.")] = None,
    *,
    scale: Scale,
) -> None:
    """Print what a finished stage writes: greedy text, or text sampled with a seed.

    Example: `stages generate llama31_1m/instruct --chat --prompt "What is 12 + 30?"`.
    """
    from stages.commands.generate import generate as write

    write(ref, prompt, scale, chat, max_tokens, temperature, top_p, seed)


@app.command(rich_help_panel=RESULTS)
def evaluate(
    ref: Ref,
    tasks: Annotated[
        list[str] | None, typer.Option("--tasks", metavar="NAME", help="An evaluation as specs name them; repeatable.")
    ] = None,
    lm_eval: Annotated[
        list[str] | None, typer.Option("--lm-eval", metavar="TASK", help="A task of lm-evaluation-harness; repeatable.")
    ] = None,
    lm_eval_tasks: Annotated[
        Path | None, typer.Option("--lm-eval-tasks", help="A folder with tasks of your own for the harness.")
    ] = None,
    lm_eval_python: Annotated[
        Path | None, typer.Option("--lm-eval-python", help="The interpreter that has the harness.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Documents of each task of the harness.")] = None,
    as_json: Json = False,
    *,
    scale: Scale,
) -> None:
    """Evaluate a finished stage: on held-out documents, or by lm-evaluation-harness on an export of it.

    Without --tasks and --lm-eval: what its spec asks of the harness and it does not have yet.

    Example: `stages evaluate llama31_1m/base --tasks validation_loss`.
    """
    from stages.commands.evaluate import evaluate as measure
    from stages.commands.evaluate import evaluate_as_specified, evaluate_outside
    from stages.errors import UsageError

    if tasks and lm_eval:
        raise UsageError("found both --tasks and --lm-eval; allowed: one of them.")
    if lm_eval:
        evaluate_outside(ref, scale, lm_eval, lm_eval_tasks, limit, lm_eval_python, as_json)
        return
    if limit is not None or lm_eval_tasks is not None or (tasks and lm_eval_python is not None):
        raise UsageError("found --limit, --lm-eval-tasks or --lm-eval-python; allowed: with --lm-eval only.")
    if tasks:
        measure(ref, scale, tasks, as_json)
        return
    evaluate_as_specified(ref, scale, lm_eval_python, as_json)
