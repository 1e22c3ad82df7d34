"""Learning rates above those of published models of the size: notices, since what else a recipe scales is its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from stages.check.context import Context
from stages.check.notices.full_size import contexts
from stages.check.rules.horizon import place
from stages.contract.parameters import parameters
from stages.errors import Where
from stages.spec.language_model import LanguageModel
from stages.spec.project import Project
from stages.spec.resolved import Stage

BILLION = 10**9


@dataclass(frozen=True)
class Highest:
    """The highest peak of AdamW, or Muon at its size, in published recipes for models from a size on."""

    parameters: int
    rate: float
    recipes: str


# Recipes under muP state a base of 1e-2 and divide it by the width for matrices: groups of an optimizer say that here.
PUBLISHED: Mapping[str, tuple[Highest, ...]] = {
    "pre-training": (
        Highest(7 * BILLION, 1e-3, "arXiv 2501.00656 has 9e-4 at 13B, 3e-4 at 7B"),
        Highest(5 * BILLION // 2, 1.5e-3, "arXiv 2404.14619 has 1.2e-3 at 3B"),
        Highest(BILLION, 3e-3, "arXiv 2411.13676 has 3e-3 at 1.5B"),
    ),
    "fine-tuning on answers": (
        Highest(5 * BILLION // 2, 1e-4, "most have 5e-6 to 2e-5"),
        Highest(BILLION, 3e-4, "SmolLM2 1.7B has 3e-4, arXiv 2502.02737"),
    ),
    "preferences": (Highest(BILLION, 8e-6, "most have 2e-7 to 1e-6, ORPO 8e-6"),),
}


def highest(project: Project, scale: str) -> Iterator[str]:
    """A notice for each schedule at which a large language model is trained faster than published ones were."""
    for context in contexts(project, scale):
        told: set[Where] = set()
        for name, stage in context.own:
            kind, size, rate = _kind(stage), _size(stage), _rate(context, stage)
            bound = next((one for one in PUBLISHED.get(kind, ()) if size >= one.parameters), None)
            where = _where(context, name) if bound is not None and rate > Fraction(bound.rate) else None
            if bound is None or where is None or where in told or not context.writes(where):
                continue
            told.add(where)
            yield (
                f"{where}: {name} trains {size / BILLION:.1f}B parameters at up to {float(rate):g}, above "
                f"{bound.rate:g}: for {kind} at such sizes, {bound.recipes}."
            )


def _where(context: Context, name: str) -> Where:
    """The line of the piece that rises the highest."""
    extent = context.pipeline.extents[name]
    number = max(range(len(extent.laid)), key=lambda one: max(extent.laid[one].first, extent.laid[one].last))
    return place(context, extent.schedule, number)


def _kind(stage: Stage) -> str:
    objectives = {phase.objective for phase in stage.phases}
    if stage.kind != "train" or not objectives:
        return ""
    if objectives == {"preference"}:
        return "preferences"
    if all(phase.answers_alone for phase in stage.phases):
        return "fine-tuning on answers"
    return "pre-training" if objectives <= {"next_token", "looped", "joint"} else ""


def _size(stage: Stage) -> int:
    models = [stage.modules[one] for one in stage.trained if one in stage.modules]
    return max((parameters(one).total for one in models if isinstance(one, LanguageModel)), default=0)


def _rate(context: Context, stage: Stage) -> Fraction:
    """The highest rate of the language model's matrices, by the multiple of their group."""
    rate = context.highest_rate(stage)
    if stage.optimizer is None or rate is None:
        return Fraction(0)
    language = [one for one in stage.trained if isinstance(stage.modules.get(one), LanguageModel)]
    multiples = [
        Fraction(group.lr)
        for group in stage.optimizer.groups or ()
        if "matrices" in group.of and (group.modules is None or set(language) & set(group.modules))
    ]
    small = stage.optimizer.update_rms / 0.2 if stage.optimizer.kind == "muon" else 1.0
    return rate * max(multiples, default=Fraction(1)) * Fraction(min(small, 1.0))
