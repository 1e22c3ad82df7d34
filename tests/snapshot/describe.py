"""A stage in text: every identity field with its unit, then what follows from them. One line an idea, for reviewers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from blake3 import blake3

from stages.contract import ledger, rope, schedule
from stages.contract.parameters import parameters
from stages.spec import units
from stages.spec.families.llama import LlamaModel
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.families.ouro import OuroModel
from stages.spec.frozen import Frozen
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.spec.resolved_pipeline import ResolvedPipeline
from stages.spec.resolved_training import Schedule
from stages.testing.page_spec import DIGEST, LEDGER, RATIONAL, UNITS


def page(project: Project, pipeline: str, stage: str, scales: tuple[str, ...]) -> str:
    """One stage at several scales."""
    parts = [f"{pipeline}/{stage}"]
    for scale in scales:
        resolved = project.resolve(pipeline, scale)
        parts += ["", f"[{scale}]", *lines(resolved, stage)]
    return "\n".join(parts) + "\n"


def lines(resolved: ResolvedPipeline, name: str) -> Iterator[str]:
    """Identity fields, whatever they are (a new one appears here by itself), then key, steps, rates and frequencies."""
    stage = resolved.stages[name]
    unit = stage.phases[0].unit if stage.phases else "tokens"
    yield from fields(stage, "stage", 0, unit)
    yield "follows"
    yield f"  key {resolved.keys[name]}"
    yield from (f"  {line}" for line in derived(stage))


def fields(value: Frozen, title: str, depth: int, unit: str) -> Iterator[str]:
    """A resolved value: its plain fields in one line, what it is made of below."""
    plain: list[tuple[str, Any]] = []
    inner: list[tuple[str, Any]] = []
    for name in type(value).model_fields:
        if name in value.outside_keys():
            continue
        found = getattr(value, name)
        (inner if nested(found) else plain).append((name, found))
    indent = "  " * depth
    words = ", ".join(f"{name} {shown(value, name, one, unit)}" for name, one in plain)
    yield f"{indent}{title}: {words}".rstrip()
    for name, found in inner:
        entries = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, tuple) else None
        if entries is None:
            yield from fields(found, name, depth + 1, unit)
        else:
            for place, one in entries:
                yield from fields(one, f"{name}.{place}", depth + 1, unit)


def nested(value: Any) -> bool:
    if isinstance(value, dict):
        return True
    return isinstance(value, Frozen) or (isinstance(value, tuple) and bool(value) and isinstance(value[0], Frozen))


def shown(owner: Frozen, name: str, value: Any, unit: str) -> str:
    """A plain value; counts with their unit, floats as `repr` gives them back exactly."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int):
        kind = unit if name in LEDGER else UNITS.get((type(owner).__name__, name))
        return f"{units.format_tokens(value)} {kind}" if kind else f"{value:_}"
    if isinstance(value, str):
        return value[:DIGEST] if len(value) == 64 else value or '""'
    if name in RATIONAL and isinstance(value, tuple):
        return f"{value[0]}/{value[1]}"
    if isinstance(value, tuple):
        return "(" + " ".join(shown(owner, name, one, unit) for one in value) + ")"
    return repr(value)


def derived(stage: Stage) -> Iterator[str]:
    """What the contract makes of the fields."""
    for name, model in stage.modules.items():
        count = parameters(model)
        yield f"parameters of {name} {count.total:_}, active {count.active:_}"
    for name in stage.modules:
        init = stage.init[name]
        state = "trained" if name in stage.trained else "frozen" if stage.phases else "as received"
        yield f"{name} {init.weights} weights, {init.optimizer} optimizer, {state}"
    for name, dim in rotated(stage):
        yield f"inv_freq of {name}: {dim // 2} pairs, digest {frequencies(stage, dim)}"
    for phase in stage.phases:
        if stage.schedule is not None:
            yield from rates(phase, stage.schedule)


def rates(phase: Phase, curve: Schedule) -> Iterator[str]:
    """Steps of a phase, and the learning rate of its first and last."""
    first = phase.clock_start + ledger.step_at(phase, 0).end
    last = phase.clock_start + phase.budget
    yield f"phase {phase.name}: {ledger.count(phase):_} steps, {ledger.samples(phase):_} samples"
    yield f"phase {phase.name}: LR of the first step {schedule.lr(curve, first)!r}"
    yield f"phase {phase.name}: LR of the last step {schedule.lr(curve, last)!r}"


def rotated(stage: Stage) -> Iterator[tuple[str, int]]:
    for name, model in stage.modules.items():
        if isinstance(model, LlamaModel | OuroModel):
            yield name, model.head_dim
        elif isinstance(model, MoonlightModel):
            yield name, model.qk_rope_dim


def frequencies(stage: Stage, dim: int) -> str:
    """Twelve digits of each frequency: equal for every libm, whose last bit of pow() may differ."""
    assert stage.rope is not None
    text = " ".join(f"{value:.12g}" for value in rope.inv_freq(stage.rope, dim))
    return str(blake3(text.encode()).hexdigest())[:DIGEST]
