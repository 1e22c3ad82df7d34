"""The multimodal share over a hand-over: the part of I-30 that looks at more than one phase."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from stages.check.context import Context
from stages.check.findings import Finding
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase


def falling_shares(context: Context) -> Iterator[Finding]:
    """A finding (I-30) where a phase of objective joint begins with a smaller share than the one before it ended with.

    Fine-tuning on text after joint training is another objective, and may have no images.
    """
    for name, stage in context.own:
        before = _above(context, stage)
        for number, phase in enumerate(stage.phases):
            begins = _share(phase, 0)
            for who, share in before if phase.objective == "joint" and begins is not None else ():
                if begins is not None and begins < share:
                    yield context.finding(
                        "I-30", name, ("phases", number, "data" if phase.share is None else "multimodal"),
                        parent=who if "/" in who else None,
                        observed=f"a share that falls from {float(share):.2%} to {float(begins):.2%} after {who}",
                        expected="a share that goes on where it was, or rises",
                        repair="Correct `multimodal: {from: ...}`, or the mixture.", found=(share, begins),
                    )  # fmt: skip
            ends = _share(phase, 1)
            before = [(f"phase {phase.name}", ends)] if phase.objective == "joint" and ends is not None else []


def _above(context: Context, stage: Stage) -> list[tuple[str, Fraction]]:
    """The parents that were trained jointly, and the share at which each ended."""
    found = []
    for ref, parent in context.trained_parents(stage):
        share = _share(parent.phases[-1], 1) if parent.phases and parent.phases[-1].objective == "joint" else None
        if share is not None:
            found.append((ref, share))
    return found


def _share(phase: Phase, end: int) -> Fraction | None:
    """The share of multimodal samples at a phase's beginning (0) or end (1); None without sources."""
    if phase.share is not None:
        return Fraction(*(phase.share.last if end else phase.share.first))
    groups = {source.group for source in phase.sources}
    return Fraction("multimodal" in groups) if groups else None
