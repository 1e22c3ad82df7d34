"""Which stretch of each corpus a phase reads: after whatever its ancestors read, never the same document twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm
from typing import Literal

from stages.spec.quantities import BadQuantity
from stages.spec.resolved_phases import Phase, Source
from stages.spec.schema.corpora import RawCorpus
from stages.spec.stretches import Need, packed, rows_in, stretch

Reach = Mapping[str, int]  # corpus -> end of what has been read along a lineage
MOST_EPOCHS = 1 << 12  # that are advised


def farthest(*reaches: Reach) -> Reach:
    """How far any of several lineages has read each corpus."""
    found: dict[str, int] = {}
    for reach in reaches:
        for corpus, end in reach.items():
            found[corpus] = max(found.get(corpus, 0), end)
    return found


class TooSmallError(BadQuantity):
    """A corpus that has less than is read of it."""


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

    `phase` is complete except for its sources; `patch` is the side of an image patch, for phases in patches. A stretch
    begins where the lineage has read to; how long it is, `stages/spec/stretches.py` says. Raises BadQuantity.
    """
    after = dict(reach)
    sources = []
    _answers(phase, parts)
    groups = {part.group for part in parts}
    units = {group: lcm(*(part.share.denominator for part in parts if part.group == group)) for group in groups}
    for part in parts:
        start = after.get(part.corpus, 0)
        need = Need(phase, part.group, part.share, len(groups), patch)
        if part.figures is None:
            end = start + need.units
        else:
            _check(phase, part.figures)
            whole = phase.packing == "fixed" and phase.whole(part.kind)
            end = _all(part.figures, start) if whole else start + _length(need, part.figures, start)
        after[part.corpus] = end
        weight = part.share.numerator * (units[part.group] // part.share.denominator)
        source = Source(
            corpus=part.corpus, group=part.group, weight=weight, start=start, end=end, digest=part.digest,
            kind=part.kind,
        )  # fmt: skip
        sources.append(source)
    return tuple(sources), after


def _answers(phase: Phase, parts: list[Part]) -> None:
    """Fine-tuning needs answers; text next to them is replay."""
    if phase.objective == "sft" and all(part.kind == "text" for part in parts):
        names = ", ".join(repr(part.corpus) for part in parts)
        raise BadQuantity(
            f"{names} of kind text, which has no answers",
            "at least one corpus of kind sft, or a multimodal one with questions, for objective sft",
            "Prepare it from rows with `messages`, or add a corpus that has answers.",
        )


# What a corpus counts in that a phase in such a unit reads.
_UNITS: dict[Literal["tokens", "patches"], Literal["tokens", "items"]] = {"tokens": "tokens", "patches": "items"}


def _check(phase: Phase, figures: RawCorpus) -> None:
    wanted = _UNITS[phase.unit]
    if figures.unit != wanted:
        raise BadQuantity(
            f"corpus {figures.corpus!r}, which counts in {figures.unit}",
            f"corpora in {wanted} for phases in {phase.unit}",
            "Choose another corpus.",
        )


def _all(figures: RawCorpus, start: int) -> int:
    """The end of a corpus of which whole epochs are read."""
    if start:
        raise BadQuantity(
            f"epochs of {figures.corpus!r}, of whose {figures.size} {figures.unit} {start} are read before",
            "epochs of corpora that nothing before has read",
            "Write the budget in tokens, let the stage restart its data, or put more epochs into one phase.",
        )
    return figures.size


def _length(need: Need, figures: RawCorpus, start: int) -> int:
    """The stretch's length in the corpus's unit. Raises BadQuantity, with an advice only where it is enough."""
    found = stretch(need, figures, start)
    if found is not None:
        return found
    left, phase = max(0, figures.size - start), need.phase
    known = packed(figures, phase.context) if phase.whole(figures.kind) else None
    if known is not None and not known.rows:
        raise TooSmallError(
            f"rows of {phase.context} tokens, into which no document of {figures.corpus!r} fits",
            f"rows that have whole documents: some fit into {min(figures.packed)} tokens, all into {figures.longest}",
            "Lengthen the context.",
        )
    what = f"{need.plain(figures)} {figures.unit} of {figures.corpus!r}, of which {left} are left of {figures.size}"
    if known is not None:
        there = int(rows_in(figures, known, left))
        what = (
            f"{need.rows} rows of {phase.context} tokens of {figures.corpus!r}, of which about {there} are left, in "
            f"{left} of {figures.size} tokens ({figures.size - known.tokens} are in documents that are longer)"
        )
    epochs = _enough_epochs(need, figures, start)
    more = (
        f"Declare more epochs (in its phase, or under `epochs` of the scale; {epochs} are enough), l" if epochs else "L"
    )
    other = "let it restart its data" if start else "take a larger corpus"
    raise TooSmallError(f"a demand of {what}", "stretches within the corpus", f"{more}ower its budget, or {other}.")


def _enough_epochs(need: Need, figures: RawCorpus, start: int) -> int | None:
    """The least number of epochs with which the phase fits into what is left; None where none would do."""

    def fits(epochs: int) -> bool:
        phase = need.phase.model_copy(update={"epochs": epochs})
        return stretch(replace(need, phase=phase), figures, start) is not None

    low = high = need.phase.epochs
    while not fits(high):
        low, high = high, 2 * high
        if high > MOST_EPOCHS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
