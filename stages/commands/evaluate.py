"""`stages evaluate P/S`: the project's own evaluations of a finished stage, and lm-evaluation-harness's.

What the NeMo engine trained is evaluated in Megatron's model, by as many ranks as its training has.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from stages import engines
from stages.commands import lm_eval
from stages.commands.chosen import choose
from stages.commands.finished import finished
from stages.errors import UsageError, UserError
from stages.export import harness
from stages.export.harness import Asked
from stages.export.result import Result
from stages.printable import print_json
from stages.report.metrics import flatten
from stages.spec.evaluations import EVALUATIONS
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.spec.validate import hint
from stages.store import evaluated, json_file, lease, lm_eval_tasks, manifest
from stages.sync.verdicts import refuse_damaged_corpora


def evaluate(ref: str, scale: str, tasks: Sequence[str], as_json: bool) -> None:
    """Print what was found. `tasks` are names, or several with commas between them."""
    named = split(tasks)
    refuse_unknown(named)
    result, chosen = finished(ref, scale)
    from stages.export import evaluation  # loads torch: what is mistyped was answered by now

    read = evaluation.phases(result)
    evaluation.refuse(result, named, read)
    refuse_damaged_corpora(result.layout, result.stage.model_copy(update={"phases": read}))
    of_ranks = stage_of_ranks(result, chosen.graph.stages, read, named)
    if of_ranks is None:
        show(evaluation.evaluate(result, named), as_json)
    else:
        show(by_ranks(result, of_ranks), as_json)


def evaluate_outside(
    ref: str, scale: str, tasks: Sequence[str], own: Path | None, limit: int | None, python: Path | None, as_json: bool
) -> None:
    """Run lm-evaluation-harness on an export of the stage, print what it found, and add it to the stage's eval.json.

    `own`: a folder with tasks of one's own; `limit`: documents of each task at most; `python`: the interpreter that
    has the harness. Raises UserError where it is not there, for a `keep` stage, and where the harness fails.
    """
    requested = Asked(tuple(split(tasks)), None if own is None else own.resolve(), limit)
    if own is not None and not own.is_dir():
        raise UsageError(f"--lm-eval-tasks: {own} is not a folder; it should have the tasks' YAML files.")
    ref = choose(ref, scale).ref  # what is mistyped is answered first
    interpreter = harness.interpreter(python, Path.cwd())
    harness.version(interpreter)
    result, _ = finished(ref, scale)
    if result.record.points_to is not None:
        raise UserError(f"{ref}: points to {result.record.points_to}; allowed: a stage with a result of its own.")
    found = lm_eval.run(result, interpreter, requested)
    with lease.hold(result.layout.run(result.record.key), ref):
        lm_eval.note(result, found, {})
    show(found, as_json)


def evaluate_as_specified(ref: str, scale: str, python: Path | None, as_json: bool) -> None:
    """Run what the stage's spec requests of the harness and its result lacks; print all that the harness has found.

    Raises UsageError where the spec requests nothing, else as `evaluate_outside`.
    """
    chosen = choose(ref, scale)
    ref, stage = chosen.ref, chosen.stage
    if stage.evaluation.lm_eval is None:
        raise UsageError(f"found neither --tasks nor --lm-eval, and {ref} has no `lm_eval`; allowed: one of them.")
    result, _ = finished(ref, scale)
    if lm_eval_tasks.missing(result.layout, ref, stage):
        interpreter = harness.interpreter(python, chosen.root)
        harness.version(interpreter)
        lm_eval.add_missing(result, stage, interpreter)
    show(json_file.read(result.layout.stage(ref) / evaluated.RESULT)["after"][evaluated.OUTSIDE], as_json)


def split(tasks: Sequence[str]) -> list[str]:
    """Names, each once, of words that may contain several with commas between them. Raises UsageError for none."""
    named = [name.strip() for task in tasks for name in task.split(",")]
    if not named or not all(named):
        raise UsageError(f"--tasks, --lm-eval: found no name; allowed: {', '.join(EVALUATIONS)}, or a task of lm-eval.")
    return list(dict.fromkeys(named))


def refuse_unknown(named: Sequence[str]) -> None:
    """Raise UsageError for a name of no evaluation."""
    for name in named:
        if name not in EVALUATIONS:
            raise UsageError(f"--tasks: found {name!r}; allowed: {', '.join(EVALUATIONS)}. {hint(name, EVALUATIONS)}")


def show(found: Mapping[str, Any], as_json: bool) -> None:
    """Numbers as JSON, or a line each."""
    if as_json:
        print_json(found, sort_keys=True)
        return
    for name, value in flatten(found).items():
        print(f"{name:<40} {value:.6g}")


def stage_of_ranks(
    result: Result, stages: Mapping[str, Stage], read: Sequence[Phase], tasks: Sequence[str]
) -> Stage | None:
    """The stage whose ranks evaluate the result: it, or the nearest above it that trains, with the result's place.

    `stages` are those of its scale, in the layout that their specs have now. None where the torch engine evaluates:
    it trained the result, or the model is another than the one that was trained.
    """
    ref = [result.ref, *manifest.pointed_to(result.layout, result.ref)][-1]
    trained = stages.get(ref, result.stage)
    while not trained.phases and trained.parents:
        trained = stages[trained.parents[0]]
    if trained.execution.engine != "nemo" or trained.modules != result.stage.modules:
        return None
    pipeline, _, name = ref.partition("/")
    evaluation = result.stage.evaluation.model_copy(update={"names": tuple(tasks)})
    given = {"phases": tuple(read), "evaluation": evaluation, "rope": result.stage.rope}
    return trained.model_copy(update={"pipeline": pipeline, "name": name, **given})


def by_ranks(result: Result, stage: Stage) -> Mapping[str, Any]:
    """What the ranks of `stage_of_ranks` find; their launcher prints where they print. Raises as `engines.found`."""
    with redirect_stdout(sys.stderr):
        layout = result.layout
        return engines.found(stage, engines.Inputs(layout, result.record.key, (), {}, layout.data, {}))
