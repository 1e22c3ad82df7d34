"""Section `stages`: what the NeMo engine computes with that no field of Megatron-Bridge expresses."""

from __future__ import annotations

from typing import Any, assert_never

from stages.contract import rope, schedule
from stages.engines.nemo.config.model import language_model
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.spec.resolved_training import AdamW, Muon, Optimizer


def beyond(stage: Stage, phase: Phase) -> dict[str, Any]:
    """Learning rate at the phase's ends, ramps, rotary frequencies, loops, router's rule, Muon, other modules."""
    if stage.schedule is None or stage.optimizer is None or stage.rope is None:
        raise ValueError(f"{stage.ref} does not train a language model")
    end = phase.clock_start + phase.budget
    return {
        "objective": phase.objective,
        "budget": phase.budget,
        "clock": [phase.clock_start, end],
        "lr_at_end": schedule.lr(stage.schedule, end),
        "sequences": [{"after": step.after, "sequences": step.sequences} for step in phase.batch],
        "document_mask": phase.document_mask,
        "inv_freq": rope.inv_freq(stage.rope, language_model(stage).parts.rotated),
        "loops": phase.loops.model_dump(mode="json") if phase.loops is not None else None,
        "router": phase.router.model_dump(mode="json") if phase.router is not None else None,
        "optimizer": _optimizer(stage.optimizer),
        "modules": {name: one.model_dump(mode="json") for name, one in stage.modules.items()},
        "trained": list(stage.trained),
    }


def _optimizer(optimizer: Optimizer) -> dict[str, Any]:
    match optimizer:
        case AdamW():
            return {"kind": optimizer.kind, "decay": optimizer.decay}
        case Muon():
            return optimizer.model_dump(mode="json")
        case _:
            assert_never(optimizer)
