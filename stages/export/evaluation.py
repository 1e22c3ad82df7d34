"""The project's own evaluations of a finished stage: those that are requested, whatever its spec names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stages import evals
from stages.engines import looping, results
from stages.errors import UserError
from stages.evals.heldout import Heldout
from stages.export import model
from stages.export.result import Result
from stages.spec.evaluations import EVALUATIONS
from stages.spec.resolved_phases import Phase
from stages.store import stage_record
from stages.train.determinism import denormals_flushed, deterministic


def evaluate(result: Result, tasks: Sequence[str]) -> dict[str, Any]:
    """Numbers by section, as eval.json has them under "after": nothing of the result is changed.

    Raises UserError for a task that lacks a module or a corpus, and NonFiniteError.
    """
    read = phases(result)
    refuse(result, tasks, read)
    evaluation = result.stage.evaluation.model_copy(update={"names": tuple(tasks)})
    stage = result.stage.model_copy(update={"evaluation": evaluation})
    with deterministic(stage.execution), denormals_flushed():
        whole = evals.Whole(stage, model.modules(result))
        found = evals.run(whole, stage, Heldout(result.layout.data), phases=read)
    results.check_evaluations(stage, found, "as it is", None)
    return found


def refuse(result: Result, tasks: Sequence[str], read: Sequence[Phase]) -> None:
    """Raise UserError unless all of these can be evaluated."""
    families = {cfg.family for cfg in result.stage.modules.values()}
    corpora = {source.corpus for phase in read for source in phase.sources}
    for task in tasks:
        if lacking := EVALUATIONS[task].lacks(families, corpora, result.data):
            raise UserError(f"--tasks: {task} needs {' and '.join(lacking)}, which {result.ref} does not have.")


def phases(result: Result) -> tuple[Phase, ...]:
    """The phases on whose corpora a stage is evaluated: its own, or those of the nearest ancestor that has some.

    An Ouro that was made deeper is looped as its own config.json says.
    """
    read = stage_record.evaluated_on(result.layout, result.stage)
    count = model.loops(result)
    return read if count is None else looping.looped(read, count)
