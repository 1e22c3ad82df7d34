"""Evaluations of a stage: of what it received and of what it leaves; both again for a result that lacks some."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from stages import evals
from stages.data.heldout import Heldout
from stages.engines import Inputs, placed, received, results
from stages.models import build
from stages.spec.resolved import Stage
from stages.store import evaluated, json_file, lease, manifest, reevaluation, revise, stage_record
from stages.train.determinism import denormals_flushed, deterministic

Numbers = Mapping[str, Any]  # eval.json: {"before": {section: ...}, "after": {section: ...}}


def again(stage: Stage, inputs: Inputs) -> None:
    """Evaluate a finished result anew, from its weights and its parents', and put the numbers into it; train nothing.

    Raises HeldError when another run holds its key, NonFiniteError, and UserError where a parent, a released model or
    a corpus that is needed is not there.
    """
    ref, layout = f"{stage.pipeline}/{stage.name}", inputs.layout
    held = lease.hold(layout.run(inputs.key), ref)
    noted = reevaluation.noted(layout, inputs.key, stage)
    with held, noted, deterministic(stage.execution), denormals_flushed():
        numbers = _trained(stage, inputs) if stage.phases else _not_trained_again(stage, inputs)
        numbers = {**numbers, "after": {**numbers["after"], **_outside(layout.stage(ref))}}
        ran = stage_record.read(layout.stage(ref)).model_copy(update={"evaluation": stage.evaluation})
        changes = {
            evaluated.RESULT: json_file.encode(numbers),
            evaluated.NAME: evaluated.encode(stage),
            stage_record.NAME: stage_record.encode(ran),
        }
        revise.replace(layout, ref, inputs.key, changes)


def write(folder: Path, stage: Stage, numbers: Numbers) -> None:
    """Write what was found and what was asked into a result that is being made. Raises WriteError."""
    json_file.write(folder / evaluated.RESULT, numbers)
    json_file.write(folder / evaluated.NAME, evaluated.asked(stage).plain())


def before(
    stage: Stage, inputs: Inputs, modules: nn.ModuleDict, heldout: Heldout, seconds: dict[str, float] | None = None
) -> dict[str, Any]:
    """The model as it was received, under its parent's RoPE. Raises NonFiniteError."""
    rope = received.parent_rope(stage, inputs)
    with placed.evaluated(stage, modules):
        found = evals.run(modules, stage, heldout, None if rope == stage.rope else rope, seconds=seconds)
    results.check_evaluations(stage, found, "before training", 0)
    return found


def not_trained(stage: Stage, inputs: Inputs, modules: nn.ModuleDict, loops: int | None) -> Numbers:
    """Of a stage without training: an import on what its spec names, others on the parent's corpora.

    `before` is what the parent was evaluated at last; of an import there is none. Raises NonFiniteError.
    """
    if stage.evaluation.on is not None:
        after = evals.run(modules, stage, Heldout(inputs.data_root), phases=stage.evaluated_on)
        results.check_evaluations(stage, after, "as it came in", None)
        return {"before": {}, "after": after}
    parent = manifest.payload(inputs.layout, stage.parents[0])
    phases = stage_record.evaluated_on(inputs.layout, stage)
    if loops is not None:
        phases = tuple(
            phase.model_copy(update={"loops": phase.loops and phase.loops.model_copy(update={"count": loops})})
            for phase in phases
        )
    after = evals.run(modules, stage, Heldout(inputs.data_root), phases=phases)
    results.check_evaluations(stage, after, "as handed on", None)
    known = parent / evaluated.RESULT
    before = json_file.read(known)["after"] if known.is_file() else {}
    return {"before": {name: one for name, one in before.items() if name != evaluated.OUTSIDE}, "after": after}


def _trained(stage: Stage, inputs: Inputs) -> Numbers:
    heldout = Heldout(inputs.data_root)
    first = before(stage, inputs, received.receive(stage, inputs, placed.kept_on(stage)), heldout)
    modules = _own(stage, inputs)
    with placed.evaluated(stage, modules):
        after = evals.run(modules, stage, heldout)
    results.check_evaluations(stage, after, "after training", None)
    return {"before": first, "after": after}


def _not_trained_again(stage: Stage, inputs: Inputs) -> Numbers:
    return not_trained(stage, inputs, _own(stage, inputs), received.loops(stage, inputs))


def _outside(folder: Path) -> Numbers:
    """What others' programs found of a result: it holds on, since the weights are the same."""
    path = folder / evaluated.RESULT
    after = json_file.read(path)["after"] if path.is_file() else {}
    return {evaluated.OUTSIDE: after[evaluated.OUTSIDE]} if evaluated.OUTSIDE in after else {}


def _own(stage: Stage, inputs: Inputs) -> nn.ModuleDict:
    """The modules with the weights of the result in place."""
    modules = build.build(stage, str(placed.kept_on(stage)))
    folder = inputs.layout.stage(f"{stage.pipeline}/{stage.name}")
    for name, module in modules.items():
        received.load(module, folder, name)
    return modules
