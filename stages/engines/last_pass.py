"""Whether what training left can still be computed with: one forward pass after the last update, evaluated or not.

A step's loss says that the weights before it were of use. What the last update made of them nothing says, where a stage
is evaluated by nothing: weights of 1e30 are finite, and every product of two of them is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import torch
from torch import nn

from stages.contract import ledger
from stages.guards.phase_log import Rows
from stages.spec.resolved import Stage
from stages.train import finite, objectives
from stages.train.stopping import NonFiniteError


def check(stage: Stage, modules: nn.ModuleDict | None, loss: Callable[[], float], steps: int) -> None:
    """Raise NonFiniteError where a weight is too large to be squared, or `loss` of the last rows is not finite.

    `modules` are those of the rank that has them. Nothing is drawn and no buffer that is written changes: the result
    keeps every bit.
    """
    ref, last = stage.ref, f"which step {steps} left"
    if modules is not None and (large := finite.too_large(modules.state_dict())):
        what = f"{len(large)} tensors are too large to be squared, among them {finite.first_names(large)}"
        raise NonFiniteError(f"{ref}: of the weights {last}, {what}. {_repair(stage)}", steps)
    with torch.no_grad():
        found = loss()
    if not math.isfinite(found):
        raise NonFiniteError(f"{ref}: under the weights {last}, the loss is {found}. {_repair(stage)}", steps)


def loss(stage: Stage, modules: nn.ModuleDict, rows: Rows, frozen: nn.ModuleDict | None) -> float:
    """Of the first micro-batch of the last step that has a target: its share of the step's loss.

    `rows` are the last phase's, of which no read is counted; `frozen` are the other models that its objective reads.
    """
    phase = stage.phases[-1]
    step = ledger.step_at(phase, phase.budget - 1)
    if phase.objective == "coca" and step.sequences > phase.micro_batch:  # all of a step is embedded before a part is
        step = replace(step, end=step.start + phase.micro_batch * phase.context, sequences=phase.micro_batch, tail=0)
    objective = objectives.make(stage, phase, modules, rows, next(modules.parameters()).device, frozen=frozen)
    with closing(objective):
        for index in range(objective.begin(step)):
            loss = float(objective.part(index)[0])
            if loss != 0:  # rows without a target add exactly nothing
                return loss
    return 0.0  # a last step too short to contain anything


def _repair(stage: Stage) -> str:
    return (
        "Its last checkpoint is kept. A rerun meets the same numbers again: lower the learning rate at the end of "
        + (f"schedule {stage.schedule.name!r}." if stage.schedule is not None else "its schedule.")
    )
