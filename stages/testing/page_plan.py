"""The page `plan` of a stage: what `stages plan --json` says of it, and what its edges and modules come to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from blake3 import blake3

from stages.contract import hardware, ledger, numbers, rope, schedule
from stages.contract.parameters import parameters
from stages.plan.pipeline import plan_pipeline, stage_as_json
from stages.spec.language_model import LanguageModel
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_pipeline import ResolvedPipeline
from stages.testing.page_spec import DIGEST


def pages(project: Project, resolved: ResolvedPipeline) -> dict[str, dict[str, Any]]:
    """The page of every stage of a pipeline that has its rule there, by its name."""
    machine = hardware.load_usual(project.files, project.scale(resolved.scale))
    planned = plan_pipeline(project, resolved.name, resolved.scale, machine)
    pages = {}
    for name, plan in zip(resolved.own, planned.stages, strict=True):
        stage = resolved.stages[name]
        pages[name] = {
            "hardware": machine.name,
            **stage_as_json(plan),
            "modules": {module: _module(stage, module) for module in stage.modules},
            "samples": {phase.name: ledger.samples(phase) for phase in stage.phases},
            "edges": list(_edges(resolved, stage)),
        }
    return pages


def _module(stage: Stage, name: str) -> dict[str, Any]:
    """Parameters, what is received, whether it is trained, and a digest of its rotary frequencies."""
    model, init = stage.modules[name], stage.init[name]
    count = parameters(model)
    state = "trained" if name in stage.trained else "frozen" if stage.phases else "as received"
    found: dict[str, Any] = {"total": count.total, "active": count.active, "state": state}
    found |= {"weights": init.taken, "optimizer": init.optimizer}
    if isinstance(model, LanguageModel) and stage.rope is not None:
        found["inv_freq"] = _frequencies(stage, model.parts.layers[0].attention.rotated)
    return found


def _frequencies(stage: Stage, dim: int) -> str:
    """Of twelve digits of each frequency: equal for every libm, whose last bit of pow() may differ."""
    assert stage.rope is not None
    text = " ".join(f"{value:.12g}" for value in rope.inv_freq(stage.rope, dim))
    return str(blake3(text.encode()).hexdigest())[:DIGEST]


def _edges(resolved: ResolvedPipeline, stage: Stage) -> Iterator[dict[str, Any]]:
    """The learning rate at the end of each parent, and at this stage's first step."""
    for parent in stage.parents:
        found = {"from": parent, "lr_before": last_rate(resolved, parent), "lr_after": first_rate(stage)}
        above = trained(resolved, parent)
        scheduled = numbers.edge(above, stage) if above is not None else {}
        for name, (before, after) in scheduled.items():
            found |= {f"{name}_before": before, f"{name}_after": after}
        yield found


def last_rate(resolved: ResolvedPipeline, ref: str) -> float | None:
    """Of the last step of a stage or, if it does not train, of the first of its ancestors that does; None if none."""
    stage = trained(resolved, ref)
    if stage is None or stage.schedule is None:
        return None
    return schedule.lr(stage.schedule, stage.phases[-1].clock_end)


def trained(resolved: ResolvedPipeline, ref: str) -> Stage | None:
    """A stage or, if it does not train, the first of its ancestors that does; None if none."""
    stage = resolved.by_ref.get(ref)
    while stage is not None and not stage.phases:
        stage = resolved.by_ref.get(stage.parents[0]) if stage.parents else None
    return stage


def first_rate(stage: Stage) -> float | None:
    """Of a stage's first step; None where it has none."""
    if stage.schedule is None or not stage.phases:
        return None
    first = stage.phases[0]
    return schedule.lr(stage.schedule, first.clock_start + ledger.step_at(first, 0).end)
