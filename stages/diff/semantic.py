"""Two revisions of the specs, compared by what they compute: changed stages, stale ones, and what it does to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from stages.diff import curve, written
from stages.diff.curve import CurveChange
from stages.diff.written import Edit
from stages.plan import figures
from stages.plan.hardware import Hardware
from stages.plan.stage import StagePlan, document_lengths, plan_stage
from stages.spec.frozen import Frozen
from stages.spec.key import identity, stage_key
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Rope
from stages.spec.units import split

SHOWN_OTHERWISE = frozenset({"schedule", "rope", "parents"})
TOKENS = frozenset({"budget", "context", "after", "original", "start", "end", "clock_start"})


@dataclass(frozen=True)
class Field:
    """An identity field that differs; None: there is no such field on that side."""

    path: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class StageChange:
    """A stage whose own work changes. Pairs are (old, new)."""

    ref: str
    keys: tuple[str, str]
    fields: tuple[Field, ...]
    lr: CurveChange | None
    rope: tuple[Rope | None, Rope | None] | None
    tokens: tuple[int, int]
    steps: tuple[int, int]
    device_hours: tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """Everything between two revisions at one scale."""

    old: str
    new: str
    scale: str
    hardware: str
    edits: tuple[Edit, ...]
    changed: tuple[StageChange, ...]
    stale: tuple[str, ...]  # the same work on other inputs
    added: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: int
    device_hours: tuple[float, float]  # of all published stages; readings are left out of the sums
    rerun_hours: float  # of the published stages that are to be run again, as they are now
    tokens: tuple[int, int]

    @property
    def semantic(self) -> bool:
        """Whether any stage computes something else than before."""
        return bool(self.changed or self.stale or self.added or self.removed)


@dataclass(frozen=True)
class Side:
    """One revision, resolved."""

    name: str
    project: Project
    stages: Mapping[str, Stage]
    keys: Mapping[str, str]
    published: frozenset[str]  # stages of pipelines that are no readings


def side(name: str, project: Project, scale: str) -> Side:
    """All stages that have a rule at the scale. Raises SpecError(s) where the specs are wrong."""
    stages, published = {}, project.pipelines(readings=False)
    for pipeline in project.pipelines(readings=True):
        resolved = project.resolve(pipeline, scale)
        stages.update({resolved.refs[stage]: resolved.stages[stage] for stage in resolved.own})
    counted = frozenset(ref for ref in stages if ref.partition("/")[0] in published)
    return Side(name, project, stages, project.keys(scale), counted)


def compare(old: Side, new: Side, scale: str, hardware: Hardware) -> Difference:
    """The difference between two sides at one scale, priced on one device."""
    lengths = {one.name: document_lengths(one.project.data) for one in (old, new)}
    was, now = (
        {ref: plan_stage(ref, stage, hardware, lengths[one.name]) for ref, stage in one.stages.items()}
        for one in (old, new)
    )
    both = [ref for ref in new.stages if ref in old.stages]
    moved = [ref for ref in both if old.keys[ref] != new.keys[ref]]
    own = [ref for ref in moved if _own(old.stages[ref]) != _own(new.stages[ref])]
    changes = [_change(ref, old, new, was[ref], now[ref]) for ref in own]
    # A schedule's earlier pieces are in the key: they may differ where the rates of this stage do not.
    changed = tuple(change for change in changes if change.lr or change.rope or change.fields)
    told = {change.ref for change in changed}
    added = tuple(ref for ref in new.stages if ref not in old.stages)
    return Difference(
        old=old.name,
        new=new.name,
        scale=scale,
        hardware=hardware.name,
        edits=tuple(written.edits(old.project.files, new.project.files, scale)),
        changed=changed,
        stale=tuple(ref for ref in moved if ref not in told),
        added=added,
        removed=tuple(ref for ref in old.stages if ref not in new.stages),
        unchanged=len(both) - len(moved),
        device_hours=(_hours(was, old.published), _hours(now, new.published)),
        rerun_hours=_hours(now, new.published & {*moved, *added}),
        tokens=(_tokens(was, old.published), _tokens(now, new.published)),
    )


def _own(stage: Stage) -> str:
    """The key the stage would have if its parents' keys were their names: it differs when its own work does."""
    return stage_key(stage, {parent: parent for parent in stage.parents})


def _hours(plans: Mapping[str, StagePlan], counted: Set[str]) -> float:
    return sum(plan.device_hours for ref, plan in plans.items() if ref in counted)


def _tokens(plans: Mapping[str, StagePlan], counted: Set[str]) -> int:
    return sum(_budget(plan) for ref, plan in plans.items() if ref in counted)


def _budget(plan: StagePlan) -> int:
    return sum(phase.budget for phase in plan.phases)


def _change(ref: str, old: Side, new: Side, was: StagePlan, now: StagePlan) -> StageChange:
    before, after = old.stages[ref], new.stages[ref]
    return StageChange(
        ref=ref,
        keys=(old.keys[ref], new.keys[ref]),
        fields=tuple(_fields(before, after)),
        lr=curve.compare(before, after),
        rope=(before.rope, after.rope) if before.rope != after.rope else None,
        tokens=(_budget(was), _budget(now)),
        steps=(sum(phase.steps for phase in was.phases), sum(phase.steps for phase in now.phases)),
        device_hours=(was.device_hours, now.device_hours),
    )


def _fields(old: Stage, new: Stage) -> Iterator[Field]:
    """Identity fields that differ, except what is told in other words (LR, RoPE)."""
    before, after = dict(_leaves(old, "")), dict(_leaves(new, ""))
    for path in {**before, **after}:
        if before.get(path) != after.get(path) and path.split(".")[0] not in SHOWN_OTHERWISE:
            yield Field(path, before.get(path), after.get(path))
    if old.parents != new.parents:
        yield Field("parents", ", ".join(old.parents), ", ".join(new.parents))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Identity fields by path, as text; phases and corpora go by their name."""
    if isinstance(value, Frozen):
        for name in identity(value):
            yield from _leaves(getattr(value, name), f"{path}.{name}" if path else name)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _leaves(one, f"{path}.{key}")
    elif isinstance(value, tuple) and any(isinstance(one, Frozen) for one in value):
        for index, one in enumerate(value):
            yield from _leaves(one, f"{path}.{getattr(one, 'name', getattr(one, 'corpus', index))}")
    else:
        yield path, _text(value, path.rpartition(".")[2])


def _text(value: Any, name: str) -> str:
    """A value in the unit that specs write it in."""
    if isinstance(value, bool) or value is None:
        return str(value).lower() if value is not None else "none"
    if isinstance(value, int) and name in TOKENS:
        short = figures.tokens(value)
        return short if len(str(value)) > 4 and _exact(short, value) else str(value)
    if isinstance(value, int) and name in ("sequences", "micro_batch"):
        return f"{value} seq"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return "[" + ", ".join(_text(one, name) for one in value) + "]"
    return str(value)


def _exact(text: str, value: int) -> bool:
    return split(text, "")[0] == value
