"""`stages evaluate P/S --tasks NAME`: the project's own evaluations of a finished stage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from stages.commands.finished import finished
from stages.errors import UsageError
from stages.export import evaluation
from stages.report.metrics import flatten
from stages.spec.evaluations import EVALUATIONS
from stages.sync.verdicts import refuse_damaged_corpora


def evaluate(ref: str, scale: str, tasks: Sequence[str], as_json: bool) -> None:
    """Print what was found. `tasks` are names, or several with commas between them."""
    names = list(dict.fromkeys(name.strip() for task in tasks for name in task.split(",")))
    if not names:
        raise UsageError(f"--tasks: found nothing; allowed: {', '.join(EVALUATIONS)}.")
    result, _ = finished(ref, scale)
    read = evaluation.phases(result)
    evaluation.refuse(result, names, read)
    refuse_damaged_corpora(result.layout, result.stage.model_copy(update={"phases": read}))
    show(evaluation.evaluate(result, names), as_json)


def show(found: dict[str, Any], as_json: bool) -> None:
    """Numbers as JSON, or a line each."""
    if as_json:
        print(json.dumps(found, indent=2, sort_keys=True, allow_nan=False))
        return
    for name, value in flatten(found).items():
        print(f"{name:<40} {value:.6g}")
