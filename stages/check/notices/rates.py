"""Learning rates above and below those of published models of the size: notices, since what else a recipe scales is its
own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from stages.check.context import Context
from stages.check.notices.full_size import contexts
from stages.check.rules.horizon import place
from stages.check.rules.peaks import trained_at
from stages.contract.parameters import parameters
from stages.errors import Where
from stages.spec.language_model import LanguageModel
from stages.spec.project import Project
from stages.spec.resolved import Stage

BILLION = 10**9
ANY = 10**15  # parameters: of every size
LONGER = "longer contexts"
ROUNDING = Fraction(1_000_001, 1_000_000)
SHORT = Fraction(1, 3)  # of its schedule: a first piece that is longer is no way from one rate to another


@dataclass(frozen=True)
class Bound:
    """The highest peak of AdamW, or Muon at its size, in published recipes for models from a size on; or the lowest for
    models up to one. With a margin.
    """

    parameters: int
    rate: float
    recipes: str


# Recipes under muP state a base of 1e-2 and divide it by the width for matrices: groups of an optimizer say that here.
HIGHEST: Mapping[str, tuple[Bound, ...]] = {
    "pre-training": (
        # Kimi Linear; DCLM's training/configs. OLMo 2 (arXiv 2501.00656) has 9e-4 at 13B.
        Bound(20 * BILLION, 1.2e-3, "most have 1e-4 to 6e-4, arXiv 2510.26692 1.1e-3 at 48B"),
        Bound(5 * BILLION, 2e-3, "most have 3e-4, arXiv 2406.11794 2e-3 at 7B"),
        Bound(BILLION, 3e-3, "arXiv 2406.11794 has 3e-3 at 1B and 3B"),
    ),
    # ProLong: 1e-5 (table 9), and 5e-6 in its train_512K.sh. SmolLM3's long_context_4k_to_32k.yaml: 2e-5, after 2e-4.
    LONGER: (Bound(BILLION, 1e-4, "most have 5e-6 to 5e-5 (arXiv 2410.02660 1e-5)"),),
    # open-instruct's olmo3/32b_think_sft.sh: 1e-4. The alignment handbook's smollm2/sft/config.yaml: 3e-4.
    "fine-tuning on answers": (
        Bound(8 * BILLION, 1e-4, "most have 5e-6 to 2e-5, arXiv 2504.16891 at 14B and 32B 1e-4"),
        Bound(5 * BILLION // 2, 2e-4, "most have 5e-6 to 2e-5, arXiv 2504.16891 at 7B 2e-4"),
        Bound(BILLION, 3e-4, "SmolLM2 1.7B (arXiv 2502.02737) and 2504.16891 at 1.5B have 3e-4"),
    ),
    # The alignment handbook and SimPO's configs: 3e-7 to 1e-6. Llama 3.1 in section 4.1.4, MiniCPM in 7.1.
    "preferences": (
        Bound(BILLION, 1e-5, "most have 2e-7 to 1e-6, Llama 3.1 (arXiv 2407.21783) and MiniCPM (2404.06395) 1e-5"),
    ),
}
# Apertus: swiss-ai/pretrain-code's submit_apertus_70b.sh and long_context/training_scripts/70B.
LOWEST: Mapping[str, tuple[Bound, ...]] = {
    "pre-training from scratch": (
        Bound(20 * BILLION, 5e-5, "arXiv 2005.14165 has 1e-4 at 13B, most have 3e-4"),
        Bound(ANY, 1e-5, "most have 1e-4 to 3e-4, Apertus at 70B 1e-5"),
    ),
    LONGER: (
        Bound(20 * BILLION, 3e-6, "most have 1e-5 to 5e-5, ProLong's script for 512K 5e-6"),
        Bound(100 * BILLION, 1e-6, "most have 1e-5 to 5e-5, Apertus at 70B 1e-6"),
    ),
    "fine-tuning on answers": (
        Bound(100 * BILLION, 1e-6, "most have 5e-6 to 2e-5, arXiv 2411.15124 at 70B 2e-6"),
        Bound(ANY, 1e-7, "arXiv 2406.11704 compares 1e-7 to 5e-7 at 340B"),
    ),
    # open-instruct's olmo3/7b_think_dpo.sh: 8e-8.
    "preferences": (Bound(ANY, 3e-8, "most have 2e-7 to 1e-6, arXiv 2406.11704 at 340B 3e-8 to 3e-7"),),
}


def highest(project: Project, scale: str) -> Iterator[str]:
    """A notice for each schedule at which a large language model is trained faster than published ones were."""
    for context in contexts(project, scale):
        seen: set[Where] = set()
        for name, stage in context.own:
            kind, count, rate = kind_of(context, stage), size(stage), context.highest_rate(stage) or Fraction(0)
            if kind == LONGER:  # one that only anneals goes on at the rate at which its parent was trained
                rate = min(rate, _stated(context, name)) if not _again(context, stage, rate) else Fraction(0)
            rate *= multiple(stage)
            bound = next((one for one in HIGHEST.get(kind, ()) if count >= one.parameters), None)
            where = peak_at(context, name) if bound is not None and rate > Fraction(bound.rate) * ROUNDING else None
            if bound is None or where is None or where in seen or not context.writes(where):
                continue
            seen.add(where)
            yield (
                f"{where}: {name} trains {written(count)} parameters at up to {float(rate):g}, above "
                f"{bound.rate:g}: for {kind} at such sizes, {bound.recipes}."
            )


def lowest(project: Project, scale: str) -> Iterator[str]:
    """A notice for each schedule that never comes near a rate at which published models of the size, and larger ones,
    were trained.
    """
    for context in contexts(project, scale):
        seen: set[Where] = set()
        for name, stage in context.own:
            kind, count = kind_of(context, stage), size(stage)
            if kind == "pre-training" and from_scratch(stage):
                kind = "pre-training from scratch"
            rate = _stated(context, name) * multiple(stage)
            bound = next((one for one in LOWEST.get(kind, ()) if count <= one.parameters), None)
            if bound is None or not 0 < rate * ROUNDING < Fraction(bound.rate):
                continue
            where = peak_at(context, name)
            if where not in seen and context.writes(where):
                seen.add(where)
                yield (
                    f"{where}: {name} trains {written(count)} parameters at {float(rate):g} at most, below "
                    f"{bound.rate:g}: for {kind} at such sizes, {bound.recipes}."
                )


def _again(context: Context, stage: Stage, rate: Fraction) -> bool:
    """Whether a stage is trained at the very rate of mid-training before it, lower than pre-training's, as in OLMo 3.

    OLMo-core's OLMo-3-1025-7B-midtrain.py and OLMo-3-1025-7B-long-context.py begin at 2.07e-4, and the 32B's too.
    """
    return any(
        context.highest_rate(one) == rate < max(trained_at(context, one, module)[0] for module in _language(one))
        for _, one in context.trained_parents(stage)
        if one.phases and _language(one)
    )


def _stated(context: Context, name: str) -> Fraction:
    """The highest rate that a stage's schedule states, of the pieces that it reads; 0 for one that only falls from
    where the parent ended, whose rate is the parent's.
    """
    extent = context.pipeline.extents.get(name)
    if extent is None:
        return Fraction(0)
    first, *others = extent.laid
    falls = context.loaded.raw.schedules[extent.schedule][0].starts == "current" and first.last <= first.first
    if not falls:
        return extent.highest
    short = others and (first.end - first.start) <= SHORT * (others[-1].end - first.start)
    return max(max(one.first, one.last) for one in others) if short else Fraction(0)


def peak_at(context: Context, name: str) -> Where:
    """The line of the piece that rises the highest."""
    extent = context.pipeline.extents[name]
    number = max(range(len(extent.laid)), key=lambda one: max(extent.laid[one].first, extent.laid[one].last))
    return place(context, extent.schedule, number)


def kind_of(context: Context, stage: Stage) -> str:
    """What a stage trains, in the words of the tables; empty for what they have no figures of."""
    objectives = {phase.objective for phase in stage.phases}
    if stage.kind != "train" or not objectives:
        return ""
    if objectives == {"preference"}:
        return "preferences"
    if all(phase.answers_alone for phase in stage.phases):
        return "fine-tuning on answers"
    if not objectives <= {"next_token", "looped", "joint"}:
        return ""
    above = max((one.max_context for _, one in context.parents(stage)), default=None)
    longer = above is not None and stage.longest > above
    # On a clock that goes on, contexts grow in the middle of the pre-training's own schedule.
    return LONGER if longer and stage.clock == "reset" else "pre-training"


def _language(stage: Stage) -> list[str]:
    return [one for one in stage.trained if isinstance(stage.modules.get(one), LanguageModel)]


def from_scratch(stage: Stage) -> bool:
    """Whether a stage trains a language model that begins at random weights, and that no release takes the place of."""
    begins = [stage.init[one] for one in _language(stage) if one in stage.init]
    return any(one.weights == "fresh" and not one.stand_in for one in begins)


def written(count: int) -> str:
    """A number of parameters as people say it."""
    return f"{count / BILLION:.1f}B" if count >= BILLION else f"{count / 10**6:.3g}M"


def size(stage: Stage) -> int:
    """The parameters of the language model that a stage trains; 0 where there is none."""
    return max((parameters(stage.modules[one]).total for one in _language(stage)), default=0)


def multiple(stage: Stage) -> Fraction:
    """What the schedule's rate is multiplied by for the language model's matrices: by their group, and Muon's size."""
    if stage.optimizer is None:
        return Fraction(0)
    language = set(_language(stage))
    multiples = [
        Fraction(group.lr)
        for group in stage.optimizer.groups or ()
        if "matrices" in group.of and (group.modules is None or language & set(group.modules))
    ]
    small = stage.optimizer.update_rms / 0.2 if stage.optimizer.kind == "muon" else 1.0
    return max(multiples, default=Fraction(1)) * Fraction(min(small, 1.0))
