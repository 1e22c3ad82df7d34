"""Budgets in epochs: how many tokens they are, by what was measured of the corpora, before any of them is there.

Whole documents of such a phase are packed once, in the corpus's order, so that an epoch has the number of rows that the
corpus's spec declares; another seed shuffles the rows and not the documents in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stages.spec.quantities import BadQuantity
from stages.spec.ranges import Part
from stages.spec.resolved_phases import packs_whole
from stages.spec.scales import Scale
from stages.spec.schema.corpora import RawCorpus
from stages.spec.schema.phases import CountedPhase, RawPhase
from stages.spec.units import Epochs


def count(
    phase: RawPhase, budget: Epochs, parts: Sequence[Part], local: Mapping[str, RawCorpus | None], scale: Scale
) -> CountedPhase:
    """The phase with its budget in tokens, at full size and at the scale. `local` has the figures of local corpora.

    No corpus that is packed whole is read more often than the budget says, and the one that ends first is read to its
    end; text that is replayed next to conversations fills its share of the rows. Raises BadQuantity.
    """
    if phase.epochs != budget.number:
        raise BadQuantity(
            f"{phase.epochs} beside a budget of {budget.number} epochs", "the same number, or nothing",
            "Leave `epochs` out: the budget says it.", ("epochs",),
        )  # fmt: skip
    if phase.packing != "whole" or phase.unit != "tokens":
        raise BadQuantity(
            f"{phase.packing}, in {phase.unit}", "whole, in tokens, for a budget in epochs",
            "Pack whole documents, or write the budget in tokens.", ("packing",),
        )  # fmt: skip
    if phase.multimodal is not None:
        raise BadQuantity(
            "epochs of a mixture of text and pictures", "epochs of one group", "Write the budget in tokens.",
            ("budget",),
        )  # fmt: skip
    whole = [part for part in parts if packs_whole(phase.packing, phase.objective, part.kind)]
    if not whole:
        names = ", ".join(repr(part.corpus) for part in parts)
        raise BadQuantity(
            f"{names} of kind text, which has no answers", "at least one corpus of kind sft",
            "Add a corpus that has answers.", ("data",),
        )  # fmt: skip

    def rows(part: Part, context: int) -> int:
        """Rows of the whole phase that read no more than the budget's epochs of a corpus."""
        turns = 0 if part.share == 1 else (len(parts) - 1).bit_length()  # rows by which taking turns may pass a share
        return int((budget.number * _rows(part, local[part.corpus], context) - turns) / part.share)

    def tokens(context: int) -> int:
        return max(1, min(rows(part, context) for part in whole)) * context

    full = tokens(phase.context)
    here = full if scale.shrink is None else tokens(scale.context(phase.context))
    return CountedPhase.model_construct(**dict(phase), full=full, here=here)


def _rows(part: Part, figures: RawCorpus | None, context: int) -> int:
    """Rows that all documents of a corpus fill, packed once."""
    if figures is None:
        raise BadQuantity(
            f"epochs of {part.corpus!r}, a published corpus whose rows nobody has counted",
            "epochs of corpora of specs/data",
            "Bind it to one (specs/data/bind.yaml), or write the budget in tokens, with `epochs: N`.", ("budget",),
        )  # fmt: skip
    measured = figures.packed.get(context)
    rows = measured.rows if measured is not None else int(max(figures.longest, figures.size) <= context)
    if not rows:
        known = ", ".join(map(str, figures.packed)) or "none yet"
        raise BadQuantity(
            f"epochs of {part.corpus!r}, of which no row of {context} tokens was measured",
            f"contexts of its `packed` ({known})",
            f"`stages data {part.corpus} --accept` prints `packed` for specs/data/{part.corpus}.yaml.", ("budget",),
        )  # fmt: skip
    return rows
