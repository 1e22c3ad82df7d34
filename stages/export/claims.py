"""Claims about an exported model: each line with whether it is true, and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stages.export.lineage import Ancestor
from stages.export.result import Result
from stages.report import gates
from stages.report.number_format import count
from stages.spec.claims import Claim

TIERS = {
    "bit-exact": "a rerun of the same keys in the same environment gives the same bits",
    "same-order": "a rerun reads the same samples at the same learning rates; losses agree within rounding",
    "statistical": "a rerun agrees up to the spread between seeds",
}


@dataclass(frozen=True)
class Statement:
    """One claim, and whether it is true."""

    what: str
    holds: bool
    why: str


def statements(result: Result, ancestors: Sequence[Ancestor], published: Sequence[Claim]) -> list[Statement]:
    """Claims about the lineage: reproducibility, released weights, the size of a recipe, gates, published totals."""
    record, stage = result.record, result.stage
    absent = [one.ref for one in ancestors if one.result is None]
    found = [
        Statement(f"Reproducible: {record.tier}", True, TIERS[record.tier]),
        Statement(
            "The whole lineage could be read", not absent, f"not in place: {', '.join(absent)}" if absent else ""
        ),
        Statement(
            "No stand-in in the lineage",
            not record.stand_in,
            "released weights were replaced by a model trained from scratch" if record.stand_in else "",
        ),
        Statement(
            "Trained at the published size",
            stage.scale == "paper",
            "" if stage.scale == "paper" else f"scale {stage.scale}: it shows that the recipe runs, not what it gives",
        ),
    ]
    judged = gates.judge(one.result for one in reversed(ancestors) if one.result is not None)
    found += [
        Statement(f"{gate.stage}: {gate.name}", gate.passed, f"{gate.found}; needed: {gate.needed}") for gate in judged
    ]
    return found + [one for claim in published if (one := _total(claim, ancestors)) is not None]


def _total(claim: Claim, ancestors: Sequence[Ancestor]) -> Statement | None:
    """A published total of tokens, if it is of stages of this lineage only; with what was trained on here."""
    by_name = {one.result.stage.name: one.result.stage for one in ancestors if one.result is not None}
    if not set(claim.stages) <= by_name.keys():
        return None
    read = sum(by_name[name].budget for name in claim.stages)
    holds = abs(read - claim.tokens) <= claim.rounding
    return Statement(f"Published: {claim.what}", holds, f"{count(read)} here")
