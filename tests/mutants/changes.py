"""Small changes to resolved pipelines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from stages.check.context import Context
from stages.spec.resolved_phases import Phase, Source
from stages.spec.resolved_training import Piece

Change = Callable[[Context], Context]


def with_stage(context: Context, name: str, **changes: Any) -> Context:
    """The same context with some fields of one stage changed."""
    changed = context.pipeline.stages[name].model_copy(update=changes)
    stages = {**context.pipeline.stages, name: changed}
    return replace(context, pipeline=replace(context.pipeline, stages=stages))


def stage(name: str, **changes: Any) -> Change:
    """Fields of a stage."""
    return lambda context: with_stage(context, name, **changes)


def phase(name: str, number: int = 0, **changes: Any) -> Change:
    """Fields of a phase; a callable value is given the phase."""

    def change(context: Context) -> Context:
        phases = list(context.pipeline.stages[name].phases)
        phases[number] = phases[number].model_copy(update=resolved(changes, phases[number]))
        return with_stage(context, name, phases=tuple(phases))

    return change


def piece(name: str, number: int, **changes: Any) -> Change:
    """Fields of a piece of a stage's schedule; a callable value is given the piece."""

    def change(context: Context) -> Context:
        schedule = context.pipeline.stages[name].schedule
        assert schedule is not None
        pieces = list(schedule.pieces)
        pieces[number] = pieces[number].model_copy(update=resolved(changes, pieces[number]))
        return with_stage(context, name, schedule=schedule.model_copy(update={"pieces": tuple(pieces)}))

    return change


def pieces(name: str, choose: Callable[[tuple[Piece, ...]], tuple[Piece, ...]]) -> Change:
    """All pieces of a stage's schedule."""

    def change(context: Context) -> Context:
        schedule = context.pipeline.stages[name].schedule
        assert schedule is not None
        return with_stage(context, name, schedule=schedule.model_copy(update={"pieces": choose(schedule.pieces)}))

    return change


def rope(name: str, **changes: Any) -> Change:
    """Fields of a stage's rotary positions."""

    def change(context: Context) -> Context:
        old = context.pipeline.stages[name].rope
        assert old is not None
        return with_stage(context, name, rope=old.model_copy(update=resolved(changes, old)))

    return change


def init(name: str, module: str, **changes: Any) -> Change:
    """Fields of how one module is initialised."""

    def change(context: Context) -> Context:
        inits = context.pipeline.stages[name].init
        return with_stage(context, name, init={**inits, module: inits[module].model_copy(update=changes)})

    return change


def model(name: str, module: str, **changes: Any) -> Change:
    """Fields of one module's model."""

    def change(context: Context) -> Context:
        models = context.pipeline.stages[name].modules
        return with_stage(context, name, modules={**models, module: models[module].model_copy(update=changes)})

    return change


def source(name: str, number: int, change_source: Callable[[Source, Phase], Source]) -> Change:
    """The first source of a phase."""

    def change(context: Context) -> Context:
        phases = list(context.pipeline.stages[name].phases)
        first, *rest = phases[number].sources
        phases[number] = phases[number].model_copy(update={"sources": (change_source(first, phases[number]), *rest)})
        return with_stage(context, name, phases=tuple(phases))

    return change


def both(*changes: Change) -> Change:
    """One change after the other."""

    def change(context: Context) -> Context:
        for one in changes:
            context = one(context)
        return context

    return change


def resolved(changes: dict[str, Any], old: Any) -> dict[str, Any]:
    """Values as they are, callables applied to what they change."""
    return {key: value(old) if callable(value) else value for key, value in changes.items()}
