"""Averages of one stage's checkpoints that reach back to its beginning, or of which the last is nearly all; shares."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from stages.spec import points
from stages.spec.loader import LoadedPipeline
from stages.spec.schema.stages import RawMerge, RawTrain

# Recipes average checkpoints of the last tenth or so (arXiv 2407.21783, section 3.4.3; 2306.03241), or evenly spaced
# ones where the rate is constant (2505.12082).
EARLY = Fraction(1, 2)
LEAST_DECAY = Fraction(1, 2)  # below, the last checkpoint has more than half


def reaching_back(loaded: LoadedPipeline) -> Iterator[str]:
    """A notice for each merge with a checkpoint before half of what its latest one of the same stage has read, for each
    `decay` that leaves the earlier ones next to nothing, and for fractions that are not of one whole.
    """
    for name, stage in loaded.stages.items():
        if not isinstance(stage.raw, RawMerge):
            continue
        init, read = stage.raw.init, {parent: _read(loaded, parent) for parent in stage.raw.init.from_}
        for number, (parent, one) in enumerate(read.items()):
            latest = max((at for trunk, at in filter(None, read.values()) if one and trunk == one[0]), default=0)
            if one is not None and one[1] < latest * EARLY:
                where = stage.document.where(("init", "from", number))
                yield f"{where}: {name} averages {parent}, which has read {one[1]:,} of {latest:,}."
        if init.shares and all(share < 1 for share in init.shares.values()) and sum(init.shares.values()) != 1:
            where, whole = stage.document.where(("init", "shares")), sum(init.shares.values())
            parts = ", ".join(f"{float(share / whole):.3g} of {one}" for one, share in init.shares.items())
            yield f"{where}: {name} has shares that sum to {float(whole):g}; in proportion they are {parts}."
        if init.decay is not None and Fraction(str(init.decay)) < LEAST_DECAY:
            where = stage.document.where(("init", "decay"))
            last = float(1 - Fraction(str(init.decay)))
            yield f"{where}: {name} has {last:.0%} of its last checkpoint; recipes have a decay of 0.9 and more."


def _read(loaded: LoadedPipeline, parent: str) -> tuple[str, int] | None:
    """A merge's parent as (stage, what it has read of the stage's tokens); None for what is no stage that trains."""
    point = points.read(parent)
    if point is not None:
        return point.trunk, point.at
    raw = loaded.stages[parent].raw if parent in loaded.stages else None
    budgets = [phase.budget for phase in raw.phases] if isinstance(raw, RawTrain) else []
    counted = [budget for budget in budgets if isinstance(budget, int)]
    return (parent, sum(counted)) if counted and len(counted) == len(budgets) else None
