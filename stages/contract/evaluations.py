"""What a stage's evaluations read and compute, once before it and once after it: forward passes over held-out rows.

Rows are those of `stages.evals` at most: a corpus may hold out fewer. Counted are losses and needles; not the replies
and questions, which are a few hundred short rows, nor image-caption pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stages.contract.cost_phase import loops, modules
from stages.contract.hardware import Hardware
from stages.contract.memory_engine import EVALUATED
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase, Source

# As the evaluations have them (stages/evals), which a test compares: torch is not loaded here.
FULL_NUMBER = 256
FEWEST_FULL, FEWEST_ANSWERS, FEWEST_LONG, FEWEST_NEEDLES = 2, 4, 4, 2
DEPTHS = 5
FORWARD = 1 / 3  # of what a pass costs beside its work, which is known of forward and backward together


@dataclass(frozen=True)
class Rows:
    """So many rows of one length, of one corpus; without a corpus, each is one document of text."""

    count: int
    length: int
    source: Source | None = None


@dataclass(frozen=True)
class Evaluated:
    """One evaluation of all rows: operations, and seconds on the clock, in which ranks without a part wait."""

    flops: float
    seconds: float


def rows(stage: Stage, kinds: Mapping[str, str]) -> Iterator[Rows]:
    """What is read of each corpus, by its kind."""
    names, context, old = set(stage.evaluation.names), stage.evaluation.context, stage.evaluation.old_context
    if stage.phases[-1].objective == "coca":
        return
    every = {"text", "multimodal", "sft"} if names & {"validation_loss", "loops"} else set[str]()
    read = every | ({"sft"} if "answers" in names else set())
    sources = {source.corpus: source for phase in stage.phases for source in phase.sources}
    for source in sources.values():
        kind = source.kind or kinds.get(source.corpus, "")
        if kind in read:
            yield Rows(_count(stage, context, FEWEST_ANSWERS if kind == "sft" else FEWEST_FULL), context, source)
    if "position_loss" in names:
        yield Rows(_count(stage, context, FEWEST_LONG), context)
    if "needle" in names:
        for length in sorted({context // 4, context // 2, context} | ({old} if old and old < context else set())):
            hay = max(FEWEST_NEEDLES, _count(stage, length, FEWEST_NEEDLES) // DEPTHS)
            yield Rows(hay * DEPTHS, length)


def once(stage: Stage, hardware: Hardware, lengths: Mapping[str, float], kinds: Mapping[str, str]) -> Evaluated:
    """All rows of one evaluation. The torch engine's first rank computes them alone; of the NeMo engine, every rank
    has its part, and replicas with fewer rows wait.
    """
    flops = seconds = 0.0
    for one in rows(stage, kinds):
        phase = _as_phase(stage, one)
        work = sum(module.work.flops(False, False) for module in modules(stage, phase, hardware.assumed(lengths)))
        batches, ranks, wait = _batches(stage, one)
        took = work / one.count * batches.rows / (hardware.peak * hardware.mfu * ranks)
        blocks = sum(getattr(model, "layers", 1) * loops(model, phase) for model in stage.modules.values())
        took += batches.passes * blocks * hardware.block_ms * FORWARD / 1000
        flops, seconds = flops + work, seconds + took * (1 + wait)
    return Evaluated(flops, seconds)


@dataclass(frozen=True)
class _Batches:
    passes: int  # one after another
    rows: int  # of all of them


def _batches(stage: Stage, one: Rows) -> tuple[_Batches, int, float]:
    """What one replica computes, on how many ranks, and the share of its time that a pipeline's ranks wait."""
    layout, replicas = stage.execution.parallel, stage.execution.dp
    if layout is None:
        at_once = max(1, EVALUATED // one.length)
        return _Batches(-(-one.count // at_once), one.count), 1, 0.0
    most = max(phase.micro_batch * phase.context for phase in stage.phases)
    at_once = max(1, min(most // one.length, -(-one.count // replicas)))
    batches = -(-one.count // at_once)
    passes = -(-batches // replicas)
    if layout.vpp > 1:
        passes = -(-passes // layout.pp) * layout.pp
    return _Batches(passes, passes * at_once), layout.ranks_of_a_model, (layout.pp - 1) / (passes * layout.vpp)


def _as_phase(stage: Stage, one: Rows) -> Phase:
    """Rows as a phase that reads nothing else: their number of tokens, their documents and images."""
    last = stage.phases[-1]
    changes = {"context": one.length, "budget": one.count * one.length, "share": None}
    if one.source is None:
        return last.model_copy(update=changes | {"sources": (), "document_mask": False})
    return last.model_copy(update=changes | {"sources": (one.source,)})


def _count(stage: Stage, length: int, fewest: int) -> int:
    return min(stage.evaluation.samples, max(fewest, stage.evaluation.samples * FULL_NUMBER // length))
