"""What a run learns and which weights it moves, where no stage of this project does the same.

Such a run is not adopted: as `sft` of the whole model it would load, and train something else.
"""

from __future__ import annotations

from dataclasses import replace

from stages.audit.recipe import Pipeline, Stage, Value
from stages.errors import UserError

_TEXT = frozenset({"pt", "sft"})  # objectives that a stage has: next tokens, and answers
_WHOLE = frozenset({"full", "none", False})


def adapter(stage: Stage) -> Value | None:
    """The figure by which an adapter, or a part of the layers, is trained alone; None where all weights are."""
    found = (stage.values.get(name) for name in ("tuning", "adapter", "peft"))
    return next((one for one in found if one is not None and one.value is not None and one.value not in _WHOLE), None)


def adoptable(pipeline: Pipeline) -> tuple[Pipeline, list[str]]:
    """The runs that can be stages, and a line for each of the others, with those that go on from them.

    Raises UserError where none is left.
    """
    out: dict[str, str] = {}
    for stage in pipeline.stages:
        learned, tuned, edge = stage.values.get("objective"), adapter(stage), pipeline.parent(stage)
        if learned is not None and learned.value is not None and learned.value not in _TEXT:
            out[stage.name] = f"{learned.where}: {stage.name} learns by {learned.value}, which is no objective here"
        elif tuned is not None:
            out[stage.name] = (
                f"{tuned.where}: {stage.name} trains a part of the weights alone ({tuned.key} {tuned.value})"
            )
        elif edge is not None and edge.parent.name in out:
            out[stage.name] = f"{edge.where}: {stage.name} goes on from {edge.parent.name}, which is left out"
    left = tuple(one for one in pipeline.stages if one.name not in out)
    if not left:
        raise UserError("\n".join(["no run can be a stage of this project:", *out.values()]))
    edges = tuple(one for one in pipeline.edges if not {one.parent.name, one.child.name} & set(out))
    return replace(pipeline, stages=left, edges=edges), [f"left out: {line}" for line in out.values()]
