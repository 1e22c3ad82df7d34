"""Tokens of a stage, of a step and of a warm-up that no published recipe has: a prefix that is wrong in the budget and
in its schedule alike. Notices, of full size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import islice, takewhile

from stages.check.context import Context
from stages.check.notices.full_size import contexts
from stages.check.notices.rates import BILLION, LONGER, from_scratch, kind_of, size, written
from stages.check.rules.horizon import place
from stages.contract import ledger
from stages.contract.parameters import parameters
from stages.spec import units
from stages.spec.language_model import LanguageModel
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase

TRILLION = 10**12
# By what is trained: the most tokens of a stage, and what recipes have. With a margin.
MOST: Mapping[str, tuple[int, str]] = {
    "pre-training": (60 * TRILLION, "36T (arXiv 2505.09388), 40T at most (Llama 4 Scout's card)"),
    # The card of Gradient's Llama 3 8B: 63M to 840M. Llama 3.1 (arXiv 2407.21783, section 3.4.2): 800B in six stages.
    # DeepSeek-V3.1's card: 630B and 209B. GLM-4.5 (2508.06471, figure 3): 1T.
    LONGER: (2 * TRILLION, "63M to 1T (arXiv 2508.06471)"),
    # MiniCPM (arXiv 2404.06395, section 6.2): 6B. OLMo 3's Think SFT (2512.13961, table 47): 45B in two epochs.
    # OpenMath-Nemotron (2504.16891, and its script in NVIDIA-NeMo/Skills): 30,000 steps of 1,024 answers of at most
    # 32,768 tokens each, 1T at most.
    "fine-tuning on answers": (12 * TRILLION // 10, "10M to 45B (arXiv 2512.13961), 2504.16891 1T at most"),
    # 270,000 to 330,000 pairs in arXiv 2411.15124, 150,000 to 200,000 with reasoning in 2512.13961.
    "preferences": (20 * BILLION, "10M to 2B"),
}
# MT-NLG (arXiv 2201.11990) read 270B tokens for 530B parameters; 20 a parameter are compute-optimal (2203.15556).
LEAST_A_PARAMETER = Fraction(1, 4)
# From a billion parameters on GPT-3 (arXiv 2005.14165, table 2.1) and Pythia (2304.01373) have 1M to 3.2M a step,
# MiniMax-01 up to 128M (2501.08313, section 4.2).
LEAST_A_STEP, MOST_A_STEP = 64 * 1024, 256 * 2**20
# karpathy/nanochat's base_train.py has 40 steps for models of every size, MPT-7B's script 100, most have 500 to 8,000.
LEAST_WARM_UP = 25
LARGE = BILLION


def implausible(project: Project, scale: str) -> Iterator[str]:
    """A notice for each stage of a large language model with a figure that no recipe has by far."""
    for context in contexts(project, scale):
        for name, stage in context.own:
            if stage.kind == "train" and size(stage) >= LARGE:
                yield from _too_many(context, name, stage)
                if from_scratch(stage):
                    yield from _too_few(context, name, stage)
                    yield from _of_a_step(context, name, stage)
                    yield from _warm_up(context, name)


def _too_many(context: Context, name: str, stage: Stage) -> Iterator[str]:
    kind = kind_of(context, stage)
    most, recipes = MOST.get(kind, (None, ""))
    read = sum(phase.budget for phase in stage.phases if phase.unit == "tokens")
    where = context.where(name, "phases", _longest(stage), "budget")
    if most is not None and read > most and context.writes(where):
        yield f"{where}: {name} reads {units.format_tokens(read)} tokens; for {kind}, recipes have {recipes}."


def _too_few(context: Context, name: str, stage: Stage) -> Iterator[str]:
    """What all stages of the pipeline read that train a language model, beside its parameters for a token."""
    models = [stage.modules[one] for one in stage.trained]
    active = max((parameters(one).active for one in models if isinstance(one, LanguageModel)), default=0)
    read = sum(phase.budget for _, one in context.own for phase in one.phases if size(one) and phase.unit == "tokens")
    where = context.where(name, "phases", _longest(stage), "budget")
    if read < active * LEAST_A_PARAMETER and context.writes(where):
        yield (
            f"{where}: {name} trains {written(active)} parameters from scratch, and all stages of the pipeline "
            f"together read {units.format_tokens(read)} tokens; 20 a parameter are usual (arXiv 2203.15556)."
        )


def _of_a_step(context: Context, name: str, stage: Stage) -> Iterator[str]:
    for number, phase in enumerate(stage.phases):
        tokens, where = phase.batch[-1].sequences * phase.context, context.where(name, "phases", number, "batch")
        if phase.unit == "tokens" and not LEAST_A_STEP <= tokens <= MOST_A_STEP and context.writes(where):
            yield (
                f"{where}: {name} trains on {tokens:,} tokens a step; pre-training of a billion parameters and more "
                "has 1M to 128M (arXiv 2005.14165, 2501.08313)."
            )


def _warm_up(context: Context, name: str) -> Iterator[str]:
    """A first piece that rises from a stage's first step, in fewer steps than any recipe has."""
    extent, stage = context.pipeline.extents.get(name), context.pipeline.stages[name]
    if extent is None or extent.start != 0 or len(extent.laid) < 2:
        return
    piece, steps = extent.laid[0], _steps(stage.phases[0], extent.laid[0].end)
    where = place(context, extent.schedule, 0)
    if piece.first < piece.last and steps < LEAST_WARM_UP and context.writes(where):
        yield (
            f"{where}: {name} warms up in {steps} step{'s' * (steps != 1)}; from scratch, recipes have 40 to 8,000 "
            "(arXiv 2407.21783 8,000)."
        )


def _steps(phase: Phase, tokens: int) -> int:
    """The steps of a first phase that end in its first tokens."""
    some = islice(ledger.steps(phase), LEAST_WARM_UP + 1)  # more are not asked for
    return sum(1 for _ in takewhile(lambda step: step.end <= tokens, some))


def _longest(stage: Stage) -> int:
    return max(range(len(stage.phases)), key=lambda number: stage.phases[number].budget)
