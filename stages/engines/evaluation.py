"""Evaluations of a stage: of what it received and of what it leaves; both again for a result that lacks some."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import nn

from stages import evals
from stages.engines import Inputs, device, looping, received, results
from stages.evals.heldout import Heldout
from stages.models import build
from stages.spec.evaluations import EVALUATIONS
from stages.spec.resolved import Stage
from stages.store import evaluated, json_file, lease, manifest, reevaluation, revise, stage_record
from stages.train.determinism import denormals_flushed, deterministic
from stages.train.ranks import ALONE, Ranks

Numbers = Mapping[str, Any]  # eval.json: {"before": {section: ...}, "after": {section: ...}}
Both = Callable[[Stage, Inputs], Numbers]  # of a stage that trained, what its evaluation names


def again(stage: Stage, inputs: Inputs, of: Both | None = None, ranks: Ranks = ALONE) -> None:
    """Evaluate a finished result, from its weights and its parents', where it lacks numbers; train nothing.

    `of` computes both sides of a stage that trained, on all `ranks`, of which the first writes; without it, they are
    computed here in the torch engine's modules.
    Raises HeldError when another run holds its key, NonFiniteError, and UserError where a parent, a released model or
    a corpus that is needed is not there.
    """
    ref, layout = stage.ref, inputs.layout
    with ExitStack() as stack:
        if ranks.first:
            stack.enter_context(lease.hold(layout.run(inputs.key), ref))
            stack.enter_context(reevaluation.noted(layout, inputs.key, stage))
        stack.enter_context(deterministic(stage.execution))
        stack.enter_context(denormals_flushed())
        numbers = _completed(stage, inputs, evaluated.lacking(layout.stage(ref), stage), of or _trained)
        if not ranks.first:
            return
        changes = {evaluated.RESULT: json_file.encode(numbers), **evaluated.records(layout.stage(ref), stage)}
        revise.replace(layout, ref, inputs.key, changes)


def write(folder: Path, stage: Stage, numbers: Numbers) -> None:
    """Write what was found and what was requested into a result that is being made. Raises WriteError."""
    json_file.write(folder / evaluated.RESULT, numbers)
    json_file.write(folder / evaluated.NAME, evaluated.requested(stage).plain())


def before(
    stage: Stage, inputs: Inputs, model: evals.Model, heldout: Heldout, seconds: dict[str, float] | None = None
) -> dict[str, Any]:
    """The model as it was received, under its parent's RoPE. Raises NonFiniteError."""
    rope = received.parent_rope(stage, inputs)
    found = evals.run(model, stage, heldout, None if rope == stage.rope else rope, seconds=seconds)
    results.check_evaluations(stage, found, "before training", 0)
    return found


def not_trained(stage: Stage, inputs: Inputs, modules: nn.ModuleDict, loops: int | None) -> Numbers:
    """Of a stage without training: an import on what its spec names, others on the parent's corpora.

    Raises NonFiniteError.
    """
    phases, when = stage.evaluated_on, "as it came in"
    if stage.evaluation.on is None:
        phases, when = stage_record.evaluated_on(inputs.layout, stage), "as handed on"
        if loops is not None:
            phases = looping.looped(phases, loops)
    after = evals.run(evals.Whole(stage, modules), stage, Heldout(inputs.data_root), phases=phases)
    results.check_evaluations(stage, after, when, None)
    return {"before": _handed_on(stage, inputs), "after": after}


def _handed_on(stage: Stage, inputs: Inputs) -> Numbers:
    """`before` of a stage without training: what the parent was evaluated at last; of an import there is none."""
    if stage.evaluation.on is not None:
        return {}
    before = _known(manifest.payload(inputs.layout, stage.parents[0]), "after")
    return {name: one for name, one in before.items() if name != evaluated.OUTSIDE}


def _completed(stage: Stage, inputs: Inputs, names: Sequence[str], trained: Both) -> Numbers:
    """The numbers of a result with those of `names` computed; the others that are still requested are kept."""
    only = stage.model_copy(update={"evaluation": stage.evaluation.model_copy(update={"names": tuple(names)})})
    found = (trained if stage.phases else _not_trained_again)(only, inputs) if names else {"before": {}, "after": {}}
    kept = {EVALUATIONS[name].section for name in stage.evaluation.names if name not in names} | {evaluated.OUTSIDE}
    folder = inputs.layout.stage(stage.ref)
    sides = {
        side: {name: one for name, one in _known(folder, side).items() if name in kept} | dict(found[side])
        for side in ("before", "after")
    }
    return sides if stage.phases else {**sides, "before": _handed_on(stage, inputs)}


def _known(folder: Path, side: str) -> Numbers:
    path = folder / evaluated.RESULT
    return json_file.read(path)[side] if path.is_file() else {}


def _trained(stage: Stage, inputs: Inputs) -> Numbers:
    heldout = Heldout(inputs.data_root)
    modules = received.receive(stage, inputs, device.of(stage))
    first = before(stage, inputs, evals.Whole(stage, modules), heldout)
    after = evals.run(evals.Whole(stage, _own(stage, inputs)), stage, heldout)
    results.check_evaluations(stage, after, "after training", None)
    return {"before": first, "after": after}


def _not_trained_again(stage: Stage, inputs: Inputs) -> Numbers:
    return not_trained(stage, inputs, _own(stage, inputs), looping.loops(stage, inputs))


def _own(stage: Stage, inputs: Inputs) -> nn.ModuleDict:
    """The modules with the weights of the result in place."""
    modules = build.build(stage, str(device.of(stage)))
    folder = inputs.layout.stage(stage.ref)
    for name, module in modules.items():
        received.load(module, folder, name)
    return modules
