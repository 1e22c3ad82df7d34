"""The parts of a device's memory; what weights and optimizer state take, whole or of one rank of the torch engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from stages.contract.memory_layers import FP32, HALF
from stages.contract.parameters import parameters, total
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Model
from stages.spec.resolved_parallel import computes_in_bf16
from stages.spec.resolved_training import Optimizer


@dataclass(frozen=True)
class Memory:
    """Bytes on one device at the worst moment, by part, under a layout."""

    layout: str
    states: int
    activations: int
    runtime: int
    gradients: int = 0  # of the torch engine, where other layouts count them among the states
    loss: int = 0
    spare: int = 0  # what the allocator reserves beyond what is alive

    @property
    def total(self) -> int:
        """All parts."""
        return self.states + self.gradients + self.activations + self.loss + self.spare + self.runtime


def states(stage: Stage) -> int:
    """Weights, copies in bf16 of those that layers multiply with, moments."""
    counts = [parameters(model) for model in stage.modules.values()]
    copied = sum(one.total - one.embedding - one.head for one in counts) if computes_in_bf16(stage.engine_class) else 0
    return (
        FP32 * sum(one.total for one in counts)
        + read_frozen(stage)
        + HALF * copied
        + sum(moments(stage, name) for name in trained(stage)) // stage.execution.ranks
    )


def read_frozen(stage: Stage) -> int:
    """Bytes of the models that are read next to those that are trained. Their passes keep no graph, and come first."""
    return FP32 * total(stage.modules[name] for name in stage.read_frozen)


def trained(stage: Stage) -> list[str]:
    """Modules that move, in the stage's order. One that is named and not there is not counted: I-23 finds it."""
    return [name for name in stage.modules if name in stage.trained]


def moments(stage: Stage, module: str) -> int:
    """Bytes of the optimizer's state for a module that the stage trains."""
    return 0 if stage.optimizer is None else state(stage.modules[module], stage.optimizer)


def state(model: Model, optimizer: Optimizer) -> int:
    """Bytes of an optimizer's state for a model: two numbers a parameter, one for a matrix that Muon moves; one more
    where an average of the weights is kept.
    """
    each = 2 if optimizer.ema is None else 3
    return FP32 * (each * parameters(model).total - matrices(optimizer, model))


def matrices(optimizer: Optimizer, model: Model) -> int:
    """Parameters that Muon moves; norms and biases, which AdamW takes too, are too few to matter."""
    match optimizer.kind:
        case "adamw":
            return 0
        case "muon":
            return parameters(model).layers
        case _:
            assert_never(optimizer)
