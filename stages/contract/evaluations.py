"""What a stage's evaluations read and compute, once before it and once after it: forward passes over held-out rows.

Rows are those of `stages.evals` at most: a corpus may hold out fewer. How long replies and questions are is not known
before a run: a conversation is taken to have its corpus's mean length, half of it the reply, and a question about an
image to have the share of image tokens that the hardware's profile assumes. Image-caption pairs have captions of full
length, and the prompts of the ten digits are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stages.contract import cost_coca
from stages.contract.cost_phase import Assumed, modules, question
from stages.contract.duration import blocks
from stages.contract.evaluated_rows import (
    DEPTHS,
    FEWEST_ANSWERS,
    FEWEST_FULL,
    FEWEST_LONG,
    IMAGES_AT_ONCE,
    LEAST_PAIRS,
    LEAST_QUESTIONS,
    LONGEST,
    REPLIES,
    SLACK,
    count,
    haystacks,
    needle_lengths,
)
from stages.contract.hardware import Hardware
from stages.contract.memory_engine import EVALUATED
from stages.spec.evaluations import EVALUATIONS
from stages.spec.loader_data import LoadedData
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase, Source

WORDS = 10  # that may answer a question
FORWARD = 1 / 3  # of what a pass costs apart from its work, which is known of forward and backward together


@dataclass(frozen=True)
class Rows:
    """So many rows of one length, of one corpus; without a corpus, each is one document of text. `times` one after
    another, as the tokens of a reply are.
    """

    count: int
    length: int
    source: Source | None = None
    times: int = 1


@dataclass(frozen=True)
class Evaluated:
    """One evaluation of all rows: operations, and seconds on the clock, in which ranks without a part wait."""

    flops: float
    seconds: float


def read(stage: Stage, stages: Mapping[str, Stage]) -> tuple[Phase, ...]:
    """The phases on whose corpora a stage is evaluated: its own, else those of the nearest of `stages`, by
    "pipeline/stage", above it.
    """
    while not stage.evaluated_on and stage.parents and stage.parents[0] in stages:
        stage = stages[stage.parents[0]]
    return stage.evaluated_on


def makes_any(stage: Stage, read: Sequence[Phase]) -> bool:
    """Whether a stage evaluates itself, on the corpora of the phases `read`; one taken over from a trunk does not."""
    return bool(read and stage.evaluation.names) and stage.trunk is None


def rows(stage: Stage, data: LoadedData, assumed: Assumed) -> Iterator[Rows]:
    """What is read of each corpus, by its kind."""
    names, context = set(stage.evaluation.names), stage.evaluation.context
    if stage.phases[-1].objective == "coca":
        return
    every = {"text", "multimodal", "sft"} if names & {"validation_loss", "loops"} else set[str]()
    read = every | ({"sft"} if "answers" in names else set())
    sources = {source.corpus: source for phase in stage.phases for source in phase.sources}
    for source in sources.values():
        kind = _kind(source, data)
        if kind in read:
            yield Rows(
                count(stage.evaluation, context, FEWEST_ANSWERS if kind == "sft" else FEWEST_FULL), context, source
            )
        if kind == "preference" and "preferences" in names:  # both answers of a pair fit into a row of training
            yield Rows(stage.evaluation.samples, stage.phases[-1].context, source)
        if kind == "sft" and "answers" in names:
            yield from _replies(source, min(LONGEST, context), assumed.lengths)
    if "digit_questions" in names:
        yield from _questions(stage, sources.values(), data, assumed)
    if "position_loss" in names:
        yield Rows(count(stage.evaluation, context, FEWEST_LONG), context)
    if "needle" in names:
        for length in needle_lengths(stage.evaluation):
            yield Rows(haystacks(stage.evaluation, length) * len(DEPTHS), length)


def _kind(source: Source, data: LoadedData) -> str:
    return source.kind or data.kinds.get(source.corpus, "")


def _replies(source: Source, context: int, lengths: Mapping[str, float]) -> Iterator[Rows]:
    """The shortest prompts, with as much of a reply as there is; all of them once more for each token. A corpus of long
    conversations has none so short.
    """
    whole = lengths.get(source.corpus, context)
    if whole <= context:
        yield Rows(REPLIES, min(context, math.ceil((1 + SLACK) / 2 * whole)), source, math.ceil(SLACK / 2 * whole))


def _questions(stage: Stage, sources: Iterable[Source], data: LoadedData, assumed: Assumed) -> Iterator[Rows]:
    """Each question of the first corpus that has some, once with every word that may answer it."""
    builders = EVALUATIONS["digit_questions"].builders
    for source in sources:
        local = data.corpora.get(source.corpus)
        if _kind(source, data) == "multimodal" and (local is None or local.builder in builders):
            length = assumed.lengths.get(source.corpus) or question(stage, assumed)
            yield Rows(WORDS, math.ceil(length), source, max(stage.evaluation.samples, LEAST_QUESTIONS))
            return


def once(
    stage: Stage, read: tuple[Phase, ...], hardware: Hardware, lengths: Mapping[str, float], data: LoadedData
) -> Evaluated:
    """All rows of one evaluation on the corpora of the phases `read`. The torch engine's first rank computes them
    alone; of the NeMo engine, every rank has its part, and replicas with fewer rows wait.
    """
    stage = stage.model_copy(update={"phases": read})
    assumed = hardware.assumed(lengths)
    flops, seconds = _pairs(stage, hardware)
    for one in rows(stage, data, assumed):
        phase = _as_phase(stage, one)
        work = sum(module.work.flops(False, False) for module in modules(stage, phase, assumed))
        batches = _batches(stage, one)
        took = work / one.count * batches.rows / (hardware.reached(stage) * batches.ranks)
        took += batches.passes * blocks(stage, phase) * hardware.block_ms * FORWARD / 1000
        flops, seconds = flops + one.times * work, seconds + one.times * took * (1 + batches.wait)
    return Evaluated(flops, seconds)


def _pairs(stage: Stage, hardware: Hardware) -> tuple[float, float]:
    """Operations and seconds of image-caption pairs, images at the last cap; none where the objective is another."""
    coca, names = stage.phases[-1].coca, stage.evaluation.names
    tower = stage.tower
    if coca is None or tower is None:
        return 0.0, 0.0
    samples = stage.evaluation.samples
    counts = {"validation_loss": samples, "retrieval": samples, "zero_shot": max(samples, LEAST_PAIRS)}
    work, passes = 0.0, 0
    for name in {*names} & {*counts}:
        patches = cost_coca.patches_of(tower, coca.resolutions[-1].cap)
        work += counts[name] * cost_coca.forward(stage, patches, name == "validation_loss")
        passes += math.ceil(counts[name] / IMAGES_AT_ONCE)
    overhead = passes * blocks(stage, stage.phases[-1]) * hardware.block_ms * FORWARD / 1000
    took = work / hardware.reached(stage) + overhead
    return work, took


@dataclass(frozen=True)
class _Batches:
    """What one replica computes of some rows."""

    passes: int  # one after another
    rows: int  # of all of them
    ranks: int
    wait: float  # of a pipeline's ranks, as a share of the time that they work


def _batches(stage: Stage, one: Rows) -> _Batches:
    layout, replicas = stage.execution.parallel, stage.execution.dp
    if layout is None:
        at_once = max(1, EVALUATED // one.length)
        return _Batches(-(-one.count // at_once), one.count, ranks=1, wait=0.0)
    most = max(phase.micro_batch * phase.context for phase in stage.phases)
    at_once = max(1, min(most // one.length, -(-one.count // replicas)))
    batches = -(-one.count // at_once)
    passes = -(-batches // replicas)
    if layout.vpp > 1:
        passes = -(-passes // layout.pp) * layout.pp
    wait = (layout.pp - 1) / (passes * layout.vpp)
    return _Batches(passes, passes * at_once, layout.ranks_of_a_model, wait)


def _as_phase(stage: Stage, one: Rows) -> Phase:
    """Rows as a phase that reads nothing else: their number of tokens, their documents and images."""
    last = stage.phases[-1]
    changes = {"context": one.length, "budget": one.count * one.length, "share": None, "preference": None}
    if one.source is None:
        return last.model_copy(update=changes | {"sources": (), "document_mask": False})
    return last.model_copy(update=changes | {"sources": (one.source,)})
