"""How much of a phase's budget is padding, by what was measured of its corpora: budgets count positions."""

from __future__ import annotations

from fractions import Fraction

from stages.contract import ledger
from stages.contract.mixture import Mixture
from stages.spec.loader_data import LoadedData
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase, Source


def padding(stage: Stage, phase: Phase, data: LoadedData) -> Fraction | None:
    """The share of the phase's positions without a token: 0 where no corpus is packed whole.

    None where it was not measured: corpora without `packed` for the context, or counted with another tokenizer.
    """
    if phase.unit != "tokens" or not any(phase.whole(source.kind) for source in phase.sources):
        return Fraction(0)
    if stage.tokenizer != data.local:
        return None
    rows = ledger.samples(phase)
    filled = Fraction(0)
    for source, count in zip(phase.sources, Mixture(phase).counts(rows), strict=True):
        full = _filled(phase, source, data)
        if full is None:
            return None
        filled += full * count
    return 1 - filled / rows


def _filled(phase: Phase, source: Source, data: LoadedData) -> Fraction | None:
    """The share of a row's positions that a source fills."""
    if not phase.whole(source.kind):
        return Fraction(1)
    figures = data.corpora.get(source.corpus)
    measured = figures.packed.get(phase.context) if figures is not None else None
    if measured is None or not measured.rows:
        return None
    return Fraction(measured.tokens, measured.rows * phase.context)
