"""A resolved stage up to a count: its phases, and what its schedules give up to there."""

from __future__ import annotations

from fractions import Fraction
from typing import TypeVar

from stages.spec.frozen import Frozen
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.spec.resolved_training import Piece, Schedule

F = TypeVar("F", bound=Frozen)


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
