"""Rates against the model's past: a peak above all that it was trained at, a warm-up that is most of its schedule.

Parts of I-36, of schedules as they are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction

from stages.check.context import Context
from stages.check.facts import Fact
from stages.check.rules import horizon
from stages.contract.parameters import parameters
from stages.errors import InvalidSpecs
from stages.spec.clocks import Extent
from stages.spec.project import Project
from stages.spec.resolved import Stage

# Gupta et al. (arXiv 2308.04014) warm up again to twice the rate of pre-training. What a released model was pre-trained
# at is not known here, and what it was trained at since may be low: an extension at 5e-6, fine-tuning at 2e-5.
HIGHER = 2
HIGHER_THAN_KNOWN = 5
ROUNDING = Fraction(1001, 1000)
HIGHEST = Fraction(1, 10)  # a step moves every weight by about the rate: above it there is none
# Recipes have 1% to 10%, one-cycle policies 30% (torch) or 25% (fastai), short fine-tuning and triangles up to a half.
LONG_WARM_UP = Fraction(1, 3)
LONGEST_WARM_UP = Fraction(1, 2)

Fault = tuple[str, Fact, str, str, str]  # the piece's key at fault; fact, found, expected, repair


def faults(context: Context, name: str, extent: Extent, number: int) -> Iterator[Fault]:
    """Of a piece that begins in a stage. At one scale: what is written is the same at all."""
    if context.full is None:
        yield from _too_high(context, context.pipeline.stages[name], extent, number)
        yield from _too_long(context, extent, number)


def _too_high(context: Context, stage: Stage, extent: Extent, number: int) -> Iterator[Fault]:
    raw, piece = horizon.piece_of(context, extent, number)
    stated = {"to": piece.last if raw.to is not None else 0, "from": piece.first if raw.starts == "stated" else 0}
    key = max(stated, key=lambda one: stated[one])
    highest = Fraction(stated[key])
    # The largest counts, as modules share the schedule: a new projector is trained at a hundred times the rate of what
    # it joins.
    module = max(stage.trained, key=lambda one: parameters(stage.modules[one]).total, default=None)
    past = {one: trained_at(context, stage, one) for one in stage.trained}
    # What comes down from a higher piece is as that piece is: its lineage may have paused while it still warmed up.
    falls = highest <= max((max(one.first, one.last) for one in extent.laid[:number]), default=0)
    if module is None or falls or not all(top for top, _ in past.values()):
        return
    top, from_scratch = past[module]
    limit = top * (HIGHER if from_scratch else HIGHER_THAN_KNOWN)
    if limit * ROUNDING < highest <= HIGHEST:
        yield (
            key,
            highest,
            f"a learning rate of {float(highest):g} for {module}, which was trained at {float(top):g} at most",
            f"at most {float(limit):g}: what follows a training has rates of its size, or lower ones",
            "Correct the rate, or waive this with the reason for training on at a higher one.",
        )
    elif stage.phases[0].objective == "preference" and highest <= HIGHEST:
        yield from _above_parent(context, stage, key, highest)


def _above_parent(context: Context, stage: Stage, key: str, highest: Fraction) -> Iterator[Fault]:
    """Preferences at a higher rate than the answers that they are about. Recipes lower it, by up to 40 times."""
    for module in stage.trained:
        taught = context.taught_by(stage, module)
        above = taught[1] if taught is not None and taught[1].kind == "train" else None
        top = context.highest_rate(above) if above is not None else None
        if taught is None or above is None or top is None:
            continue
        kinds = {one.kind for one in (above.optimizer, stage.optimizer) if one is not None}
        if len(kinds) == 1 and 0 < HIGHER * top * ROUNDING < highest:
            yield (
                key,
                highest,
                f"a learning rate of {float(highest):g} for preferences, after {float(top):g} at most in {taught[0]}",
                f"at most {float(HIGHER * top):g}; recipes have a lower rate than fine-tuning's, or the same",
                "Correct the rate, or waive this with its reason.",
            )
            return


def trained_at(context: Context, stage: Stage, module: str) -> tuple[Fraction, bool]:
    """The highest rate along a module's lineage by this kind of optimizer, and whether that is all of its training."""
    highest, whole = Fraction(0), True
    init = stage.init.get(module)
    while init is not None and init.parent is not None and (above := context.by_ref.get(init.parent)) is not None:
        if module in above.trained and above.schedule is not None and above.phases and above.kind == "train":
            top = context.highest_rate(above)
            kinds = {one.kind if one is not None else None for one in (above.optimizer, stage.optimizer)}
            if len(kinds) == 1 and top is not None:
                highest = max(highest, top)
            else:
                whole = False
        init = above.init.get(module)
    return highest, whole and init is not None and init.weights == "fresh" and not init.stand_in


def _too_long(context: Context, extent: Extent, number: int) -> Iterator[Fault]:
    part = warm_up(extent) if number == 0 else Fraction(0)
    read = max(one.end for one in context.pipeline.extents.values() if one.schedule == extent.schedule)
    if part > LONGEST_WARM_UP and extent.laid[0].end <= read:  # one that nothing reads to its end is I-03's
        yield (
            "until" if context.loaded.raw.schedules[extent.schedule][0].for_ is None else "for",
            part,
            f"a warm-up of {float(part):.0%} of its schedule",
            f"at most {float(LONGEST_WARM_UP):.0%}; recipes have 1% to 10%",
            "Correct its length, or waive this with the reason for warming up so long.",
        )


def warm_up(extent: Extent) -> Fraction:
    """The part of a schedule in which its first piece rises; 0 of one that has no other piece: it is meant to rise."""
    piece, end = extent.laid[0], horizon.declared(extent).clock
    end = extent.laid[-1].end if end is None and not extent.left else end
    others = len(extent.laid) + len(extent.left) > 1
    return Fraction(piece.end - piece.start, end) if others and end and piece.first < piece.last else Fraction(0)


def long_warm_ups(project: Project, scale: str) -> Iterator[str]:
    """A notice for each schedule whose warm-up is more than a third of it, and no finding; at full size."""
    for name in project.pipelines(variants=True):
        with suppress(InvalidSpecs):  # which are findings
            if project.shrink(name, scale).shrink is not None:
                continue
            resolved, document = project.resolve(name, scale), project.loaded(name).document
            own = {one: resolved.extents[one] for one in resolved.own if one in resolved.extents}
            for stage, extent in own.items():
                begun = extent.laid and extent.laid[0].start >= extent.start
                if begun and LONG_WARM_UP < (part := warm_up(extent)) <= LONGEST_WARM_UP:
                    where = document.where(("schedules", extent.schedule, 0))
                    yield f"{where}: {stage} warms up over {float(part):.0%} of schedule {extent.schedule!r}."
