"""Which stretch of each corpus a phase reads: after whatever its ancestors read, never the same document twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, lcm
from typing import Literal

from stages.spec.resolved_phases import Phase, Source
from stages.spec.schema_corpora import RawCorpus

Reach = Mapping[str, int]  # corpus -> end of what has been read along a lineage
SLACK = 2  # samples by which cumulative-count rounding may pass a source's share


class RangeError(ValueError):
    """A corpus that is exhausted, or that counts in another unit than the phase reads."""

    def __init__(self, found: str, allowed: str, repair: str) -> None:
        self.found, self.allowed, self.repair = found, allowed, repair
        super().__init__(found)


@dataclass(frozen=True)
class Part:
    """A corpus of a mixture: its exact share within its group, and its digest where it is a local one.

    `figures` are counted with the local tokenizer, so they are given only where a stage uses that one.
    """

    corpus: str
    kind: str
    group: Literal["text", "multimodal"]
    share: Fraction
    digest: str
    figures: RawCorpus | None


def allot(
    phase: Phase, parts: list[Part], reach: Reach, patch: int | None
) -> tuple[tuple[Source, ...], dict[str, int]]:
    """The phase's sources with their stretches, and the reach after it.

    `phase` is complete but for its sources; `patch` is the side of an image patch, for phases in patches. A stretch
    begins where the lineage has read to and is as long as the demand plus the longest document, because documents are
    read whole: those that begin in it belong to this phase. Raises RangeError.
    """
    after = dict(reach)
    sources = []
    _answers(phase, parts)
    for part in parts:
        start = after.get(part.corpus, 0)
        end = start + demand(phase, part, len({one.group for one in parts}), patch)
        if part.figures is not None:
            _check(phase, part.figures)
            end += part.figures.longest if part.figures.unit == "tokens" else 0
            _fits(part.figures, start, end, phase.epochs)
        after[part.corpus] = end
        unit = lcm(*(one.share.denominator for one in parts if one.group == part.group))
        weight = int(part.share * unit)
        source = Source(
            corpus=part.corpus, group=part.group, weight=weight, start=start, end=end, digest=part.digest,
            kind=part.kind,
        )  # fmt: skip
        sources.append(source)
    return tuple(sources), after


def demand(phase: Phase, part: Part, groups: int, patch: int | None) -> int:
    """Units of the corpus that the phase consumes in one epoch, rounded up: tokens, or items for phases in patches."""
    samples = -(-phase.budget // phase.context)
    mean = Fraction(1)
    if phase.share is not None and groups > 1:
        first, last = Fraction(*phase.share.first), Fraction(*phase.share.last)
        ramp = Fraction(min(phase.share.over, samples), samples)
        multimodal = last - (last - first) / 2 * ramp
        mean = multimodal if part.group == "multimodal" else 1 - multimodal
    drawn = min(Fraction(samples), samples * mean * part.share + SLACK)
    per_sample = Fraction(phase.context) if phase.coca is None or patch is None else _items(phase, patch)
    return ceil(drawn * per_sample / phase.epochs) + 1


def _items(phase: Phase, patch: int) -> Fraction:
    """Mean images per packed row, were all of them as large as the resolution cap of the moment lets them be."""
    steps = phase.coca.resolutions if phase.coca else ()
    ends = [*(step.after for step in steps[1:]), phase.budget]
    rows = Fraction(0)
    for step, end in zip(steps, ends, strict=True):
        patches = max(1, step.cap // patch) ** 2
        rows += Fraction(end - step.after, phase.budget) * max(1, phase.context // patches)
    return rows


def _answers(phase: Phase, parts: list[Part]) -> None:
    """Fine-tuning needs answers; text beside them is replay."""
    if phase.objective == "sft" and all(part.kind == "text" for part in parts):
        names = ", ".join(repr(part.corpus) for part in parts)
        raise RangeError(
            f"{names} of kind text, which has no answers",
            "at least one corpus of kind sft, or a multimodal one with questions, for objective sft",
            "Prepare it from rows with `messages`, or add a corpus that has answers.",
        )


def _check(phase: Phase, figures: RawCorpus) -> None:
    wanted = "items" if phase.unit == "patches" else "tokens"
    if figures.unit != wanted:
        raise RangeError(
            f"corpus {figures.corpus!r}, which counts in {figures.unit}",
            f"corpora in {wanted} for phases in {phase.unit}",
            "Choose another corpus.",
        )


def _fits(figures: RawCorpus, start: int, end: int, epochs: int) -> None:
    if end > figures.size:
        raise RangeError(
            f"a demand of {end - start} {figures.unit} of {figures.corpus!r}, of which "
            f"{max(0, figures.size - start)} are left of {figures.size}",
            "stretches within the corpus",
            f"Declare more epochs than {epochs} for this stage (in its phase, or under `epochs` of the scale), "
            "lower its budget, or let it restart its data.",
        )
