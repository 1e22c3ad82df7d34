"""How long a phase takes on a device: its operations at the rate that is reached, and what does not depend on work."""

from __future__ import annotations

from collections.abc import Mapping

from stages.contract import ledger
from stages.contract.cost_phase import operations
from stages.contract.hardware import Hardware
from stages.spec.loader_data import LoadedData
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase


def device_seconds(stage: Stage, phase: Phase, hardware: Hardware, flops: float) -> float:
    """Seconds of one device for the whole phase, whose `flops` are those of `operations`; ranks share them."""
    steps = ledger.count(phase)
    overhead = (_passes(phase) * _blocks(stage, phase) * hardware.block_ms + steps * hardware.step_ms) / 1000
    return flops / (hardware.peak * hardware.mfu) + overhead


def step_seconds(stage: Stage, phase: Phase, hardware: Hardware, lengths: Mapping[str, float]) -> float:
    """Seconds on the clock of a step of the phase, on the average, with the stage's ranks."""
    flops = operations(stage, phase, hardware.assumed(lengths))
    return device_seconds(stage, phase, hardware, flops) / stage.execution.ranks / ledger.count(phase)


def document_lengths(data: LoadedData) -> dict[str, float]:
    """Mean tokens of a document of each local corpus; of published ones it is not known."""
    return {
        name: corpus.size / corpus.documents
        for name, corpus in data.corpora.items()
        if corpus.unit == "tokens" and corpus.documents
    }


def _passes(phase: Phase) -> int:
    """Logical micro-batches of the phase."""
    full, partial = ledger.stretches(phase)
    passes = sum(stretch.steps * -(-stretch.sequences // phase.micro_batch) for stretch in full)
    return passes + (-(-partial.sequences // phase.micro_batch) if partial else 0)


def _blocks(stage: Stage, phase: Phase) -> int:
    """Blocks that a micro-batch passes: a looped model's layers once a loop, modules without layers once."""
    loops = phase.loops.count if phase.loops else 1
    return sum(
        getattr(model, "layers", 1) * (loops if model.family == "ouro" else 1) for model in stage.modules.values()
    )
