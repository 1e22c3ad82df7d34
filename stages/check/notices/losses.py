"""Parts of a loss that a stage of pre-training has no longer, again, or at another weight than the stage above it.

A line that was lost in a copy of a stage looks like this, and so does what some recipes mean.
"""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.context import Context
from stages.check.notices.full_size import contexts
from stages.contract.numbers import extremes, value
from stages.errors import Where
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.spec.resolved_training import Schedule

PRE_TRAINING = ("next_token", "looped", "joint")


def changed(project: Project, scale: str) -> Iterator[str]:
    """A notice for a z-loss that ends, a router's bias that moves again, and routers that nothing balances any more."""
    for context in contexts(project, scale):
        seen: set[tuple[Where, str]] = set()  # the values of a sweep have one line, and so have the parents of a merge
        for name, stage in context.own:
            for number, after in enumerate(stage.phases):
                goes_on = bool(number) or stage.clock == "continue"
                if number:
                    before = [(f"phase {stage.phases[number - 1].name}", stage.phases[number - 1], True)]
                else:
                    above = context.trained_parents(stage)
                    before = [(ref, one.phases[-1], _moved(context, ref)) for ref, one in above if one.phases]
                for of, phase, moved in before:
                    where = context.where(name, "phases", number)
                    said = [*_between(phase, after, of, moved), *(_other(phase, after, of) if goes_on else ())]
                    for what, next_to in said if context.writes(where) else ():
                        if (where, what) not in seen:
                            seen.add((where, what))
                            yield f"{where}: {name} {what}, after {next_to}."


def _between(before: Phase, after: Phase, of: str, moved: bool) -> Iterator[tuple[str, str]]:
    """What the second phase has no longer, or again; `moved`: whether a router's bias has moved before."""
    if not {before.objective, after.objective} <= set(PRE_TRAINING):
        return
    if before.loops is not None and after.loops is not None:
        was, now = _last(before.loops.beta, before.clock_end), _most(after.loops.beta)
        if now > was:
            yield f"has beta {now:g} of its loops' entropy", f"{was:g} of {of}: published ones fall (arXiv 2510.25741)"
    was, now = _last(before.z_loss, before.clock_end), _most(after.z_loss)
    if was and not now:
        yield "has no z_loss", f"{of}, which has {was:g}"
    if before.router is None or after.router is None:
        return
    bias, balance = (_last(one, before.clock_end) for one in (before.router.bias_update, before.router.aux_loss))
    again, weight = _most(after.router.bias_update), _most(after.router.aux_loss)
    if moved and again and not bias:
        yield f"has bias_update {again:g} again", f"{of}, where it was 0 in the end"
    if (bias or balance) and not (again or weight):
        yield "balances its experts by nothing (bias_update 0, aux_loss 0)", f"{of}, which balanced them"


def _other(before: Phase, after: Phase, of: str) -> Iterator[tuple[str, str]]:
    """Weights of a loss that are other constants, where the clock goes on: one of the two is a slip, or a choice."""
    for key, was, now in _weights(before, after):
        if isinstance(was, float) and isinstance(now, float) and was and now and was != now:
            yield f"has {key} {now:g}", f"{was:g} of {of}, whose clock goes on"


def _weights(before: Phase, after: Phase) -> Iterator[tuple[str, float | Schedule | None, float | Schedule | None]]:
    yield "z_loss", before.z_loss, after.z_loss
    if before.router is not None and after.router is not None:
        yield "bias_update", before.router.bias_update, after.router.bias_update
        yield "aux_loss", before.router.aux_loss, after.router.aux_loss


def _last(number: float | Schedule | None, end: int) -> float:
    return value(number, end) if number is not None else 0.0


def _most(number: float | Schedule | None) -> float:
    return extremes(number)[1] if number is not None else 0.0


def _moved(context: Context, ref: str) -> bool:
    """Whether a router's bias has moved in a stage or above it."""
    stage = context.by_ref[ref]
    return _moves(stage) or any(_moved(context, above) for above, _ in context.parents(stage))


def _moves(stage: Stage) -> bool:
    return any(_most(phase.router.bias_update) > 0 for phase in stage.phases if phase.router is not None)
