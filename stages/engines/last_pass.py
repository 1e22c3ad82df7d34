"""Whether what training left can still be computed with: one forward pass after the last update, evaluated or not.

A step's loss says that the weights before it were of use. What the last update made of them nothing says, where a stage
is evaluated by nothing: weights of 1e30 are finite, and every product of two of them is not.
"""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace

import torch
from torch import nn

from stages.contract import ledger
from stages.data.sample import PairRow, Sample
from stages.guards.phase_log import Rows
from stages.models.ops.labels import IGNORED
from stages.spec.resolved import Stage
from stages.train import finite, objectives
from stages.train.stopping import NonFiniteError


def check(stage: Stage, modules: nn.ModuleDict, data: Rows, steps: int) -> None:
    """Raise NonFiniteError where a weight is too large to be squared, or the loss of the last rows is not finite.

    `data` are the last phase's rows, of which no read is counted. Nothing is drawn and no buffer that is written
    changes: the result keeps every bit.
    """
    ref, last = f"{stage.pipeline}/{stage.name}", f"which step {steps} left"
    if large := finite.too_large(modules.state_dict()):
        what = f"{len(large)} tensors are too large to be squared, among them {finite.some(large)}"
        raise NonFiniteError(f"{ref}: of the weights {last}, {what}. {_repair(stage)}", steps)
    with torch.no_grad():
        loss = _loss(stage, modules, data)
    if not math.isfinite(loss):
        raise NonFiniteError(f"{ref}: under the weights {last}, the loss is {loss}. {_repair(stage)}", steps)


def _loss(stage: Stage, modules: nn.ModuleDict, data: Rows) -> float:
    """Of the first micro-batch of the last step that has a target: its share of the step's loss.

    Rows are cut to the length of evaluations, for which one device has memory where several divide the step's rows.
    """
    phase, longest = stage.phases[-1], stage.evaluation.context
    rows = Beginnings(data, longest) if longest < phase.context else data
    step = ledger.step_at(phase, phase.budget - 1)
    if phase.objective == "coca" and step.sequences > phase.micro_batch:  # all of a step is embedded before a part is
        step = replace(step, end=step.start + phase.micro_batch * phase.context, sequences=phase.micro_batch, tail=0)
    objective = objectives.make(stage, phase, modules, rows, next(modules.parameters()).device)
    with closing(objective):
        for index in range(objective.begin(step)):
            loss = float(objective.part(index)[0])
            if loss != 0:  # rows without a target add exactly nothing
                return loss
    return 0.0  # a last step too short to hold anything


class Beginnings:
    """Rows of which no more than the first positions are read, or those up to the first target where it lies behind
    them; rows with images, whose features have places, are read whole.
    """

    def __init__(self, rows: Rows, longest: int) -> None:
        self._rows, self._longest = rows, longest

    def samples(self, first: int, count: int, tail: int) -> list[Sample]:
        """Rows of text, cut."""
        return [self._cut(sample) for sample in self._rows.samples(first, count, tail)]

    def pairs(self, first: int, count: int, tail: int) -> list[PairRow]:
        """Images and their captions, which have no rows to cut."""
        return self._rows.pairs(first, count, tail)

    def _cut(self, sample: Sample) -> Sample:
        if sample.images:
            return sample
        targets = (sample.labels != IGNORED).nonzero()[0]
        end = max(self._longest, int(targets[0]) + 1 if len(targets) else 0)
        part = slice(end - self._longest, end)
        parts = ("tokens", "labels", "segments", "positions")
        return replace(sample, **{name: getattr(sample, name)[part] for name in parts})


def _repair(stage: Stage) -> str:
    return (
        "Its last checkpoint is kept. A rerun meets the same numbers again: lower the learning rate at the end of "
        + (f"schedule {stage.schedule.name!r}." if stage.schedule is not None else "its schedule.")
    )
