"""`stages evaluate` of what the NeMo engine trained: in Megatron's model, by as many ranks as its training has."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

from stages import engines
from stages.export.result import Result
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.store import manifest


def computed(result: Result, stages: Mapping[str, Stage], read: Sequence[Phase], tasks: Sequence[str]) -> Stage | None:
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


def evaluate(result: Result, stage: Stage) -> Mapping[str, Any]:
    """What the ranks of `computed` find; their launcher's output goes where theirs goes. Raises as `engines.found`."""
    with redirect_stdout(sys.stderr):
        layout = result.layout
        return engines.found(stage, engines.Inputs(layout, result.record.key, (), {}, layout.data, {}))
