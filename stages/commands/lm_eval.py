"""lm-evaluation-harness on an export of a finished stage: what its spec requests, and what a user requests.

What it finds goes into the stage's eval.json, next to this project's evaluations.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.errors import UserError
from stages.export import harness
from stages.export.harness import Asked
from stages.export.result import Result
from stages.spec.loader_data import LoadedData
from stages.spec.resolved import Stage
from stages.store import evaluated, json_file, lease, lm_eval_tasks, reevaluation, revise
from stages.store.layout import Layout

SHARD = 5 * 10**9  # bytes


def refuse_unknown(root: Path, layout: Layout, stage: Stage) -> None:
    """Raise UserError, before anything is trained, for tasks that there are not: as far as is known here."""
    ref, requested = stage.ref, stage.evaluation.lm_eval
    if requested is None:
        return
    own, python = lm_eval_tasks.folder(layout, requested), lm_eval_tasks.installed(root)
    if own is not None and not own.is_dir():
        raise UserError(
            f"{ref}: evaluate.lm_eval_tasks: {own} is not a folder; it should have the tasks' YAML files. Make it, or "
            "correct the path in the spec."
        )
    unknown = [] if python is None else harness.unknown(python, Asked(requested.tasks, own, requested.limit))
    if unknown:
        raise UserError(
            f"{ref}: evaluate.lm_eval: found {', '.join(unknown)}; allowed: tasks of lm-evaluation-harness"
            f"{'' if own is None else f', or of {own}'}. `{python} -m lm_eval ls tasks` lists them."
        )


def complete(root: Path, layout: Layout, stage: Stage, data: LoadedData) -> None:
    """Run what a stage's spec requests of the harness on its result; where that is not installed, say so.

    Raises UserError where the harness fails: the result is whole, and stays.
    """
    ref, python = stage.ref, lm_eval_tasks.installed(root)
    tasks = ", ".join(lm_eval_tasks.missing(layout, ref, stage))
    if python is None:
        print(
            f"{ref}: lm_eval: {tasks} not run: lm-evaluation-harness is not installed. `make lm-eval` makes an "
            f"environment for it; then `stages evaluate {ref} --scale {layout.scale}` runs them, and trains nothing."
        )
        return
    print(f"{ref}: lm_eval: {tasks} on an export of the result, no training", flush=True)
    add_missing(Result.open(ref, root, layout, data), stage, python)


def add_missing(result: Result, stage: Stage, python: Path) -> None:
    """Run the tasks of a stage's spec that its result lacks, and add what was found, with the record of the request.

    Raises HeldError while another run has the stage's lease, and UserError where the harness fails.
    """
    layout, ref, key, requested = result.layout, result.ref, result.record.key, stage.evaluation.lm_eval
    if requested is None:
        raise ValueError(f"{ref}: its spec asks nothing of the harness")
    with lease.hold(layout.run(key), ref), reevaluation.noted(layout, key, stage):
        refuse_unknown(result.root, layout, stage)
        tasks = lm_eval_tasks.missing(layout, ref, stage)
        found = run(result, python, Asked(tasks, lm_eval_tasks.folder(layout, requested), requested.limit))
        note(result, found, evaluated.records(layout.stage(ref), stage))


def run(result: Result, python: Path, requested: Asked) -> dict[str, Any]:
    """What the harness finds on an export that is there for the time of its run. Raises UserError where it fails."""
    from stages.export import folder, names, tokenizer  # loads torch

    version, published = harness.version(python), names.published(result)
    with tempfile.TemporaryDirectory(prefix="stages-lm-eval-") as scratch:
        export = Path(scratch, "export")
        folder.write(result, published, tokenizer.of(result), "fp32", SHARD, {}, export)
        longest, out = result.stage.max_context, Path(scratch, "out")
        found = harness.run(python, export, requested, bool(published.code), longest, out)
    return {"harness": version, **found}


def note(result: Result, found: Mapping[str, Any], records: Mapping[str, bytes]) -> None:
    """Put what the harness found into eval.json, next to what is there; tasks that it has found before are replaced.

    `records` are other files of the result to be replaced with it. The caller has the lease of the result's key.
    """
    layout, ref, key = result.layout, result.ref, result.record.key
    path = layout.stage(ref) / evaluated.RESULT
    numbers = json_file.read(path) if path.is_file() else {"before": {}, "after": {}}
    after = numbers["after"]
    after[evaluated.OUTSIDE] = {**after.get(evaluated.OUTSIDE, {}), **found}
    revise.replace(layout, ref, key, {evaluated.RESULT: json_file.encode(numbers), **records})
