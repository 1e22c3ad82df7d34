"""Rates and batches of vision stages that no published one has: contrastive training of towers, and alignment with a
frozen language model. Notices, of full size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from stages.check.context import Context
from stages.check.notices.full_size import contexts
from stages.check.notices.rates import peak_at
from stages.contract.parameters import total
from stages.errors import Where
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase

LARGE = 50_000_000  # parameters of all that is trained
# SigLIP (arXiv 2303.15343, section 4.1 and figure 2) compares 512 to 1M pairs a step, and finds 32K to suffice.
LEAST_PAIRS, MOST_PAIRS = 512, 2**20


@dataclass(frozen=True)
class Rates:
    """Peaks of published stages, with a margin of two and more."""

    least: float
    most: float
    what: str
    recipes: str


RATES: Mapping[str, Rates] = {
    # CLIP (arXiv 2103.00020, table 20): 4e-4 and 5e-4, and 2e-5 where it was trained on at 336 pixels; CoCa
    # (2205.01917, section 4.1): 8e-4. CLIPA's scripts in open_clip (docs/script_examples): 1e-3 and 2e-3, and 6.4e-6
    # where it was trained on.
    "coca": Rates(1e-6, 4e-3, "contrastive training", "6.4e-6 to 2e-3 (arXiv 2103.00020 4e-4, 2205.01917 8e-4)"),
    # LLaVA (arXiv 2304.08485, section 5): 2e-3 for the projector alone; towers that are trained too have 2e-6 and more
    # (LLaVA-OneVision, arXiv 2408.03326, table 1).
    "align": Rates(1e-6, 4e-3, "alignment with a language model", "2e-6 to 2e-3 (arXiv 2304.08485 2e-3)"),
}


def unusual_towers(project: Project, scale: str) -> Iterator[str]:
    """A notice for each schedule and each batch of a vision stage that is far from those of published ones."""
    for context in contexts(project, scale):
        seen: set[Where] = set()
        for name, stage in context.own:
            objectives = {phase.objective for phase in stage.phases}
            known = RATES.get(min(objectives)) if len(objectives) == 1 and stage.kind == "train" else None
            if known is None or total(stage.modules[one] for one in stage.trained) < LARGE:
                continue
            where, said = _of_rate(context, name, stage, known)
            if said and where not in seen and context.writes(where):
                seen.add(where)
                yield f"{where}: {name} {said}"
            yield from _of_pairs(context, name, stage)


def _of_rate(context: Context, name: str, stage: Stage, known: Rates) -> tuple[Where, str]:
    rate, where = context.highest_rate(stage) or Fraction(0), peak_at(context, name)
    grouped = stage.optimizer is None or stage.optimizer.groups
    if grouped or not rate or Fraction(known.least) <= rate <= Fraction(known.most):
        return where, ""
    return where, f"trains towers at up to {float(rate):g}; for {known.what}, recipes have {known.recipes}."


def _of_pairs(context: Context, name: str, stage: Stage) -> Iterator[str]:
    """Pairs of a step at the first resolution, at which most fit into a row."""
    if stage.tower is None:
        return
    for number, phase in enumerate(stage.phases):
        pairs, where = _pairs(phase, stage.tower.patch), context.where(name, "phases", number, "batch")
        if pairs is not None and not LEAST_PAIRS <= pairs <= MOST_PAIRS and context.writes(where):
            yield (
                f"{where}: {name} compares some {pairs:,} pairs a step; contrastive training has 512 to 1M, and 32K "
                "suffice (arXiv 2303.15343)."
            )


def _pairs(phase: Phase, patch: int) -> int | None:
    """How many squares of the first resolution fit into the rows of the largest step."""
    if phase.coca is None:
        return None
    patches = (phase.coca.resolutions[0].cap // patch) ** 2
    return max(step.sequences for step in phase.batch) * (phase.context // patches) if patches else None
