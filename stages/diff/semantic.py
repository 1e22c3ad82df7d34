"""Two revisions of the specs, compared by what they compute: changed stages, stale ones, and what it does to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from stages.contract.duration import document_lengths
from stages.contract.hardware import Hardware
from stages.diff import curve, origins, scalar_edits
from stages.diff.curve import CurveChange
from stages.diff.fields import Field, differing
from stages.diff.origins import KeptSource, MarkChange, WaiverChange
from stages.diff.scalar_edits import Edit
from stages.plan.stage import StagePlan, plan_stage
from stages.spec.key import stage_key
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Rope
from stages.spec.resolved_training import Optimizer


@dataclass(frozen=True)
class StageChange:
    """A stage whose own work changes. Pairs are (old, new)."""

    ref: str
    keys: tuple[str, str]  # for `--json`
    fields: tuple[Field, ...]
    lr: CurveChange | None
    rope: tuple[Rope | None, Rope | None] | None
    tokens: tuple[int, int]
    steps: tuple[int, int]
    clock: tuple[int | None, int | None]  # where its first phase begins; None: it has no phase
    device_hours: tuple[float, float]


@dataclass(frozen=True)
class Shared:
    """A name of work that had another one: its result is shared, and nothing is run."""

    new: str
    old: str
    renamed: bool  # the old name is gone, or is that of other work


@dataclass(frozen=True)
class Sums:
    """Of published pipelines, and of variants apart: pairs are (old, new)."""

    device_hours: tuple[float, float]
    tokens: tuple[int, int]
    rerun_hours: float  # of the stages that are to be run again, as they are now


@dataclass(frozen=True)
class Difference:
    """Everything between two revisions at one scale."""

    old: str
    new: str
    scale: str
    hardware: str
    hours: str  # what an hour of the device is called
    edits: tuple[Edit, ...]
    waivers: tuple[WaiverChange, ...]
    marks: tuple[MarkChange, ...]
    kept: tuple[KeptSource, ...]
    changed: tuple[StageChange, ...]
    stale: tuple[str, ...]  # the same work on other inputs
    shared: tuple[Shared, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: int
    rerun: int  # stages that are to be run again: their work is there under no name
    published: Sums
    variants: Sums
    elsewhere: tuple[str, ...]  # lines of edited pipelines that are not at this scale, and of edited recipes of data

    @property
    def semantic(self) -> bool:
        """Whether any stage computes something else than before."""
        return bool(self.changed or self.stale or self.shared or self.added or self.removed)


@dataclass(frozen=True)
class Side:
    """One revision, resolved, and priced on its own profile of the device."""

    name: str
    project: Project
    hardware: Hardware
    stages: Mapping[str, Stage]
    states: Mapping[str, Mapping[str, Optimizer]]  # of each stage, as ResolvedPipeline has it
    keys: Mapping[str, str]
    published: frozenset[str]  # stages of pipelines that are no variants


def side(name: str, project: Project, scale: str, hardware: Hardware) -> Side:
    """All stages that have a rule at the scale. Raises InvalidSpecs where the specs are wrong."""
    stages: dict[str, Stage] = {}
    states: dict[str, Mapping[str, Optimizer]] = {}
    published = project.pipelines(variants=False, scale=scale)
    for pipeline in project.pipelines(variants=True, scale=scale):
        resolved = project.resolve(pipeline, scale)
        stages.update({resolved.refs[stage]: resolved.stages[stage] for stage in resolved.own})
        states.update({resolved.refs[stage]: resolved.states[stage] for stage in resolved.own})
    counted = frozenset(ref for ref in stages if ref.partition("/")[0] in published)
    return Side(name, project, hardware, stages, states, project.keys(scale), counted)


def compare(old: Side, new: Side, scale: str) -> Difference:
    """The difference between two sides at one scale."""
    was, now = _plans(old), _plans(new)
    edits = tuple(scalar_edits.edits(old.project.files, new.project.files, scale, new.hardware.name))
    both = [ref for ref in new.stages if ref in old.stages]
    moved = [ref for ref in both if old.keys[ref] != new.keys[ref]]
    gone = tuple(ref for ref in old.stages if ref not in new.stages)
    known = {old.keys[ref]: ref for ref in (*old.stages, *gone)}  # what is gone last: its name is the one that changed
    fresh = [ref for ref in new.stages if ref not in old.stages]
    shared = {ref: known[new.keys[ref]] for ref in (*fresh, *moved) if new.keys[ref] in known}
    rerun = {ref for ref in (*moved, *fresh) if ref not in shared}
    own = [ref for ref in moved if ref in rerun and _own(old.stages[ref]) != _own(new.stages[ref])]
    changes = [_change(ref, old, new, was[ref], now[ref]) for ref in own]
    # A schedule's earlier pieces are in the key: they may differ where the rates of this stage do not.
    changed = tuple(change for change in changes if change.lr or change.rope or change.fields)
    shown = {change.ref for change in changed}
    variants = (frozenset(old.stages) - old.published, frozenset(new.stages) - new.published)
    return Difference(
        old=old.name,
        new=new.name,
        scale=scale,
        hardware=new.hardware.name,
        hours=new.hardware.hours,
        edits=edits,
        waivers=tuple(origins.waivers(old.project, new.project, scale)),
        marks=tuple(origins.mark_changes(old.project.files, new.project.files)),
        kept=tuple(origins.kept(old.project.files, new.project.files, edits)),
        changed=changed,
        stale=tuple(ref for ref in moved if ref in rerun and ref not in shown),
        shared=tuple(Shared(ref, its, its in gone or its in moved) for ref, its in shared.items()),
        added=tuple(ref for ref in fresh if ref not in shared),
        removed=tuple(ref for ref in gone if ref not in shared.values()),
        unchanged=len(both) - len(moved),
        rerun=len(rerun),
        published=_sums(was, now, (old.published, new.published), rerun),
        variants=_sums(was, now, variants, rerun),
        elsewhere=tuple(_elsewhere(new.project, edits, scale)),
    )


def _elsewhere(project: Project, edits: Iterable[Edit], scale: str) -> Iterator[str]:
    """Edits that no key shows: of pipelines that are not at this scale, of data that is not prepared yet."""
    edited = {Path(edit.where.file).parent.name for edit in edits}
    for name in project.absent(scale):
        if name in edited:
            at = ", ".join(project.scales_of(name))
            yield f"{name} is edited and is not at {scale}: what that does is shown at {at or 'no scale'} (--scale)"
    for name in scalar_edits.unprepared(edits):
        yield f"{name} is edited and its digest is as before: keys move once another is declared (stages data {name})"


def _plans(side: Side) -> dict[str, StagePlan]:
    lengths = document_lengths(side.project.data)
    return {ref: plan_stage(ref, stage, side.states[ref], side.hardware, lengths) for ref, stage in side.stages.items()}


def _own(stage: Stage) -> str:
    """The key the stage would have if its parents' keys were their names: it differs when its own work does."""
    return stage_key(stage, {parent: parent for parent in stage.parents})


def _sums(
    was: Mapping[str, StagePlan], now: Mapping[str, StagePlan], counted: tuple[Set[str], Set[str]], rerun: Set[str]
) -> Sums:
    return Sums(
        (_hours(was, counted[0]), _hours(now, counted[1])),
        (_tokens(was, counted[0]), _tokens(now, counted[1])),
        _hours(now, counted[1] & rerun),
    )


def _hours(plans: Mapping[str, StagePlan], counted: Set[str]) -> float:
    return sum(plan.device_hours for ref, plan in plans.items() if ref in counted)


def _tokens(plans: Mapping[str, StagePlan], counted: Set[str]) -> int:
    return sum(_budget(plan) for ref, plan in plans.items() if ref in counted)


def _budget(plan: StagePlan) -> int:
    return sum(plan.consumed(unit) for unit in ("tokens", "patches"))


def _change(ref: str, old: Side, new: Side, was: StagePlan, now: StagePlan) -> StageChange:
    before, after = old.stages[ref], new.stages[ref]
    return StageChange(
        ref=ref,
        keys=(old.keys[ref], new.keys[ref]),
        fields=tuple(differing(before, after)),
        lr=curve.compare(before, after),
        rope=(before.rope, after.rope) if before.rope != after.rope else None,
        tokens=(_budget(was), _budget(now)),
        steps=(sum(phase.steps for phase in was.phases), sum(phase.steps for phase in now.phases)),
        clock=(_clock(before), _clock(after)),
        device_hours=(was.device_hours, now.device_hours),
    )


def _clock(stage: Stage) -> int | None:
    return stage.phases[0].clock_start if stage.phases else None
