"""How long a phase takes on a device: its operations at the rate that is reached, and what does not depend on work."""

from __future__ import annotations

from collections.abc import Mapping

from stages.contract import duration_gpu, ledger
from stages.contract.cost_phase import loops, operations
from stages.contract.hardware import Hardware
from stages.spec.loader_data import LoadedData
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase


def device_seconds(stage: Stage, phase: Phase, hardware: Hardware, flops: float, lengths: Mapping[str, float]) -> float:
    """Seconds of one device for the whole phase, whose `flops` are those of `operations`; ranks share them.

    `lengths` are those of `document_lengths`. The torch engine on a GPU is timed by `duration_gpu`. Elsewhere, what a
    pass costs apart from its work is paid by every tensor and context parallel rank; a pipeline's ranks wait.
    """
    if duration_gpu.applies(stage, phase, hardware):
        return duration_gpu.device_seconds(stage, phase, hardware, hardware.assumed(lengths))
    steps, layout = ledger.count(phase), stage.execution.parallel
    together = layout.tp * layout.cp if layout is not None else 1
    passes = _passes(phase, phase.micro_batch)
    overhead = (passes * blocks(stage, phase) * together * hardware.block_ms + steps * hardware.step_ms) / 1000
    return (flops / hardware.reached(stage) + overhead) * (1 + bubble(stage, phase))


def bubble(stage: Stage, phase: Phase) -> float:
    """Time that a pipeline's ranks wait, as a share of the time that they work: (p - 1) / (m v) a step.

    p ranks with v pieces of layers each, m micro-batches of a replica (arXiv 2104.04473, section 2.2.2).
    """
    layout = stage.execution.parallel
    if layout is None or layout.pp == 1:
        return 0.0
    worked = layout.vpp * _passes(phase, phase.micro_batch * stage.execution.dp)
    return (layout.pp - 1) * ledger.count(phase) / worked


def step_seconds(stage: Stage, phase: Phase, hardware: Hardware, lengths: Mapping[str, float]) -> float:
    """Seconds on the clock of a step of the phase, on the average, with the stage's ranks."""
    flops = operations(stage, phase, hardware.assumed(lengths))
    return device_seconds(stage, phase, hardware, flops, lengths) / stage.execution.ranks / ledger.count(phase)


def document_lengths(data: LoadedData) -> dict[str, float]:
    """Mean tokens of a document of each local corpus; of published ones it is not known."""
    return {
        name: corpus.size / corpus.documents
        for name, corpus in data.corpora.items()
        if corpus.unit == "tokens" and corpus.documents
    }


def _passes(phase: Phase, at_once: int) -> int:
    """How often `at_once` sequences, or what is left of a step, are computed in the phase."""
    full, partial = ledger.stretches(phase)
    passes = sum(stretch.steps * -(-stretch.sequences // at_once) for stretch in full)
    return passes + (-(-partial.sequences // at_once) if partial else 0)


def blocks(stage: Stage, phase: Phase) -> int:
    """Blocks that a micro-batch passes: a looped model's layers once a loop, modules without layers once."""
    return sum(getattr(model, "layers", 1) * loops(model, phase) for model in stage.modules.values())
