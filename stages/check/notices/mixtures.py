"""Shares of pictures that jump up, and a packing without effect: notices."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from stages.check.notices.full_size import contexts
from stages.spec.project import Project
from stages.spec.resolved_phases import Phase
from stages.spec.schema.phases import RawPhase

NONE = Fraction(0)


def leaping(project: Project, scale: str) -> Iterator[str]:
    """A notice for each ramp of pictures whose end is not where what comes after it begins, and for each that is flat
    over a stretch: one of its figures is not what was meant.
    """
    for context in contexts(project, scale):
        for name, stage in context.own:
            above = [(ref, one.phases[-1]) for ref, one in context.trained_parents(stage) if one.phases]
            for number, phase in enumerate(stage.phases):
                where, raw = context.where(name, "phases", number, "multimodal"), context.raw_phase(name, number)
                before = (
                    above if number == 0 else [(f"phase {stage.phases[number - 1].name}", stage.phases[number - 1])]
                )
                if context.writes(where) and raw is not None:
                    yield from (f"{where}: {name} {said}." for said in _said(phase, raw, before))


def whole_anyway(project: Project, scale: str) -> Iterator[str]:
    """A notice for each phase that says `concatenate` and reads nothing that is cut into windows."""
    for context in contexts(project, scale):
        for name, _, number, phase in context.phases():
            where = context.where(name, "phases", number, "packing")
            whole = all(source.kind in ("pairs", "multimodal") for source in phase.sources)
            if phase.sources and whole and phase.packing == "concatenate" and context.writes(where):
                yield f"{where}: {name} reads pairs and documents with pictures alone, which are always packed whole."


def _said(phase: Phase, raw: RawPhase, before: list[tuple[str, Phase]]) -> Iterator[str]:
    ramp, share = raw.multimodal, phase.share
    if ramp is not None and ramp.from_ == ramp.to and ramp.over > 0:
        yield f"has {float(ramp.to):.0%} of pictures from its first row on: `over` has no effect"
    for of, one in before:
        ends, begins = (one.share.ends, share.ends) if one.share and share else ((NONE, NONE), (NONE, NONE))
        if ends[0] != ends[1] and begins[0] > ends[1]:
            yield f"begins with {float(begins[0]):.0%} of pictures, after a ramp to {float(ends[1]):.0%} in {of}"
