"""`stages evaluate P/S`: the project's own evaluations of a finished stage, and lm-evaluation-harness's."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.commands.finished import finished
from stages.errors import UsageError, UserError
from stages.export import evaluation, folder, harness, names, tokenizer
from stages.export.harness import Asked
from stages.export.result import Result
from stages.report.metrics import flatten
from stages.spec.evaluations import EVALUATIONS
from stages.store import evaluated, json_file, lease, revise
from stages.sync.verdicts import refuse_damaged_corpora

SHARD = 5 * 10**9  # bytes


def evaluate(ref: str, scale: str, tasks: Sequence[str], as_json: bool) -> None:
    """Print what was found. `tasks` are names, or several with commas between them."""
    named = split(tasks)
    result, _ = finished(ref, scale)
    read = evaluation.phases(result)
    evaluation.refuse(result, named, read)
    refuse_damaged_corpora(result.layout, result.stage.model_copy(update={"phases": read}))
    show(evaluation.evaluate(result, named), as_json)


def evaluate_outside(
    ref: str, scale: str, tasks: Sequence[str], own: Path | None, limit: int | None, python: Path | None, as_json: bool
) -> None:
    """Run lm-evaluation-harness on an export of the stage, print what it found, and add it to the stage's eval.json.

    `own`: a folder with tasks of one's own; `limit`: documents of each task at most; `python`: the interpreter that
    has the harness. Raises UserError where it is not there, for a `keep` stage, and where the harness fails.
    """
    asked = Asked(tuple(split(tasks)), None if own is None else own.resolve(), limit)
    if own is not None and not own.is_dir():
        raise UserError(f"--lm-eval-tasks: {own} is not a folder; it should hold the tasks' YAML files.")
    interpreter = harness.interpreter(python)
    version = harness.version(interpreter)
    result, _ = finished(ref, scale)
    if result.record.points_to is not None:
        raise UserError(f"{ref}: points to {result.record.points_to}; allowed: a stage with a result of its own.")
    with tempfile.TemporaryDirectory(prefix="stages-lm-eval-") as scratch:
        place = Path(scratch, "export")
        published = names.published(result)
        folder.write(result, published, tokenizer.of(result), "fp32", SHARD, {}, place)
        found = harness.run(
            interpreter, place, asked, bool(published.code), result.stage.max_context, Path(scratch, "out")
        )
    found = {"harness": version, **found}
    note(result, found)
    show(found, as_json)


def note(result: Result, found: dict[str, Any]) -> None:
    """Put what the harness found into eval.json, beside what is there; tasks that it has found before are replaced."""
    layout, ref, key = result.layout, result.ref, result.record.key
    with lease.hold(layout.run(key), ref):
        path = layout.stage(ref) / evaluated.RESULT
        numbers = json_file.read(path) if path.is_file() else {"before": {}, "after": {}}
        after = numbers["after"]
        after[evaluated.OUTSIDE] = {**after.get(evaluated.OUTSIDE, {}), **found}
        revise.replace(layout, ref, key, {evaluated.RESULT: json_file.encode(numbers)})


def split(tasks: Sequence[str]) -> list[str]:
    """Names, each once, of words that may hold several with commas between them. Raises UsageError for none."""
    named = [name.strip() for task in tasks for name in task.split(",")]
    if not named or not all(named):
        raise UsageError(f"--tasks, --lm-eval: found no name; allowed: {', '.join(EVALUATIONS)}, or a task of lm-eval.")
    return list(dict.fromkeys(named))


def show(found: dict[str, Any], as_json: bool) -> None:
    """Numbers as JSON, or a line each."""
    if as_json:
        print(json.dumps(found, indent=2, sort_keys=True, allow_nan=False))
        return
    for name, value in flatten(found).items():
        print(f"{name:<40} {value:.6g}")
