"""A point of a trunk at a scale: the resolved trunk, cut where a step of it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import TypeVar

from stages.spec.clock_map import place
from stages.spec.clocks import Clock, Extent, Reached
from stages.spec.frozen import Frozen
from stages.spec.hand_over import Node, loops, optimizer_states, reach_before
from stages.spec.loader import LoadedPipeline, LoadedStage
from stages.spec.numbers import last_numbers
from stages.spec.points import RawPoint, borders
from stages.spec.ranges import farthest
from stages.spec.resolved import Evaluation, Stage
from stages.spec.resolved_phases import Phase
from stages.spec.resolved_training import Piece, Schedule
from stages.spec.scales import Scale
from stages.spec.schedule_layout import Span

F = TypeVar("F", bound=Frozen)


def point_node(
    pipeline: LoadedPipeline, loaded: LoadedStage, raw: RawPoint, trunk: Node, above: Mapping[str, Node], scale: Scale
) -> Node:
    """The stage that a point is, with the clock, the rate and the reach there. Raises SpecError.

    At full size it is cut at the count that is written; at a scale at the step's end that is nearest to the same place
    of the same piece of the schedule. What it has read is all that the trunk's phases up to there may read: documents
    are shuffled over the whole of that, so no stretch of it is unread at a point.
    """
    extent = trunk.extent
    assert extent is not None, "only what trains has points"
    at = cut_at(loaded, raw, trunk.stage, extent, scale)
    stage = cut(trunk.stage, at)
    own = extent.own - len(trunk.stage.phases) + len(stage.phases)
    spans = list(extent.spans[: len(extent.spans) - extent.own + own])
    start, clock = extent.start + raw.at, stage.phases[-1].clock_end
    spans[-1] = Span(raw.phases[-1], (spans[-1].paper[0], start), (spans[-1].here[0], clock))
    read = ({source.corpus: source.end} for phase in stage.phases for source in phase.sources)
    reach = farthest(reach_before(loaded, above), *read, *(node.reach for node in above.values()))
    stage = _named(stage, pipeline.name, raw, trunk.ref, above)
    laid = [piece for piece in extent.laid if piece.start < start]
    left = tuple(pipeline.raw.schedules[extent.schedule][len(laid) :])
    shown = replace(extent, laid=tuple(laid), left=left, spans=tuple(spans), own=own)
    numbers = dict(_reached(trunk, stage, start))
    counted = Clock(trunk.clock.schedule, shown.spans, shown.value, trunk.clock.entered, raw.stage, numbers)
    states = optimizer_states(stage, above.values())
    ref = f"{pipeline.name}/{raw.stage}"
    return Node(ref, stage, counted, reach, shown, states, loops(stage, ()), weights_of=ref)


def _named(stage: Stage, pipeline: str, raw: RawPoint, trunk: str, above: Mapping[str, Node]) -> Stage:
    """The cut trunk as a stage of its own, which is not evaluated and has nothing waived."""
    contexts = [phase.context for phase in stage.phases]
    known = [node.stage.max_context for node in above.values() if node.stage.rope == stage.rope]
    evaluation = Evaluation(names=(), context=max(contexts), old_context=None, samples=stage.evaluation.samples)
    changes = {"pipeline": pipeline, "name": raw.stage, "box": raw.box, "evaluation": evaluation, "trunk": trunk}
    return stage.model_copy(update={**changes, "max_context": max(contexts + known), "waivers": ()})


def _reached(trunk: Node, stage: Stage, clock: int) -> Iterator[tuple[str, Reached]]:
    """What other numbers are at the point, on the paper's clock."""
    for name, number in last_numbers(stage):
        if not isinstance(number, Schedule):
            yield name, Reached(Fraction(str(number)), None, None)
            continue
        laid = trunk.numbers[name, number.name].laid
        read = min(clock, laid[-1].end)  # a z-loss is read in the phases that have one alone
        value = next(piece for piece in laid if piece.end >= read).rate(read)
        known = trunk.clock.numbers.get(name)
        yield name, Reached(value, number.name, known.entered if known and known.schedule == number.name else None)


def cut_at(loaded: LoadedStage, raw: RawPoint, trunk: Stage, extent: Extent, scale: Scale) -> int:
    """Where the point lies at the scale: units of the trunk consumed."""
    if raw.at == extent.end - extent.start:
        return trunk.budget
    spans = extent.spans[-extent.own :]
    paper = extent.start + raw.at
    number = next(number for number, span in enumerate(spans) if paper <= span.paper[1])
    before = sum(phase.budget for phase in trunk.phases[:number])
    phase, inside = trunk.phases[number], place(extent.laid, spans[number], scale, paper) - spans[number].here[0]
    if paper == spans[number].paper[1]:
        return before + phase.budget
    found = borders([(step.after, step.sequences * phase.context) for step in phase.batch], phase.budget, inside)
    there = [before + one for one in found if 0 < before + one < trunk.budget]
    if not there:
        raise loaded.document.error(
            ("phases", number, "budget"), f"a phase of one step at scale, of which {raw.stage} is a part",
            "phases of two steps or more in a stage that a branch starts within",
            "Raise the scale's `floor` or lower its `batch`.",
        )  # fmt: skip
    return min(there, key=lambda one: abs(one - before - inside))


def cut(stage: Stage, at: int) -> Stage:
    """A stage that trains, up to `at` ledger units of it: what it computes up to there does not depend on the rest."""
    phases: list[Phase] = []
    left = at
    for phase in stage.phases:
        if left:
            phases.append(_cut_phase(phase, min(left, phase.budget)))
            left -= phases[-1].budget
    end = phases[-1].clock_end
    schedule = stage.schedule and cut_schedule(stage.schedule, end)
    optimizer = stage.optimizer and cut_numbers(stage.optimizer, end)
    return stage.model_copy(update={"phases": tuple(phases), "schedule": schedule, "optimizer": optimizer})


def _cut_phase(phase: Phase, budget: int) -> Phase:
    """A phase with another budget: the stretches of its corpora, and with them their order, stay as they are."""
    if budget == phase.budget:
        return phase
    changes: dict[str, object] = {"budget": budget, "batch": tuple(step for step in phase.batch if step.after < budget)}
    if phase.coca is not None:
        resolutions = tuple(one for one in phase.coca.resolutions if one.after < budget)
        changes["coca"] = phase.coca.model_copy(update={"resolutions": resolutions})
    return cut_numbers(phase.model_copy(update=changes), phase.clock_start + budget)


def cut_numbers(model: F, end: int) -> F:
    """An optimizer or a phase with the schedules of its numbers up to a clock."""
    changes: dict[str, object] = {}
    for name in type(model).model_fields:
        match value := getattr(model, name):
            case Schedule():
                changes[name] = cut_schedule(value, end)
            case Frozen():
                changes[name] = cut_numbers(value, end)
    return model.model_copy(update=changes)


def cut_schedule(schedule: Schedule, end: int) -> Schedule:
    """The same curve up to a clock: a piece that is cut keeps its shape, and says how much of it is left."""
    pieces = tuple(_cut_piece(piece, end) for piece in schedule.pieces if piece.start < end)
    jumps = tuple(jump for jump in schedule.jumps if jump[0] < end)
    return schedule.model_copy(update={"pieces": pieces, "jumps": jumps})


def _cut_piece(piece: Piece, end: int) -> Piece:
    if piece.end <= end:
        return piece
    p0, p1 = Fraction(*piece.p0), Fraction(*piece.p1)
    if piece.shape != "constant":  # the progress of a constant piece has no meaning
        p1 = p0 + (p1 - p0) * Fraction(end - piece.start, piece.end - piece.start)
    return piece.model_copy(update={"end": end, "p1": p1.as_integer_ratio()})
