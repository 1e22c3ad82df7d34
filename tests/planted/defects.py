"""Twelve defects that checkpoints and loops have had, planted in the loop in plain torch, each an override of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tests.planted.plain import IGNORED, PER_EPOCH, SAMPLES, Plain, summed

STEPS = 12  # two epochs
CUTS = (4, 9)  # one in each


class DataRestarts(Plain):
    """The data stream counts steps since the last resume: right at the first, at the beginning at the second."""

    def build(self) -> None:
        super().build()
        self.read = 0

    def position(self) -> int:
        return self.read

    def state(self) -> dict[str, Any]:
        return super().state() | {"read": self.done - self.begin}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.read = state["read"]

    def schedule(self) -> None:
        super().schedule()
        self.read += 1


class SchedulerTwice(Plain):
    def schedule(self) -> None:
        super().schedule()
        super().schedule()


class GeneratorLost(Plain):
    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state | {"rng": torch.get_rng_state()})


class GroupDropped(Plain):
    """The optimizer's state of the second group is not restored."""

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        for parameter in self.optimizer.param_groups[1]["params"]:
            del self.optimizer.state[parameter]


class MeanOfMeans(Plain):
    """Each micro-batch's own mean, averaged, however many labels it has."""

    def losses(self, batches: list[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
        for tokens, labels in batches:
            yield summed(self.model, tokens, labels) / (labels != IGNORED).sum() / len(batches)


class SameOrderEveryEpoch(Plain):
    def epoch_seed(self, epoch: int) -> int:
        return super().epoch_seed(0)


class DropoutLost(Plain):
    """Evaluated after loading, and left so."""

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.model.eval()


class WeightDecayStale(Plain):
    """Set after the update for the next step: the first step of a process has the constructor's."""

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.optimizer.param_groups[0]["weight_decay"] = 0.1

    def set_weight_decay(self) -> None:
        if self.done > self.begin or not self.begin:
            super().set_weight_decay()


class ScalerReset(Plain):
    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state | {"scaler": self.scaler.state_dict()})


class LastBatchDropped(Plain):
    """Epochs end before their last, partial batch."""

    def rows(self) -> Tensor:
        epoch, place = divmod(self.position(), PER_EPOCH - 1)
        order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(self.epoch_seed(epoch)))
        return order[place * 4 : place * 4 + 4]


class AverageLost(Plain):
    """The moving average begins again from the model's weights."""

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state | {"ema": state["model"]})


class ClipScaled(Plain):
    """Clipped while it is scaled, and unscaled afterwards."""

    def clip(self) -> None:
        nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)
        self.scaler.unscale_(self.optimizer)


class Defect(NamedTuple):
    """What was planted, the fixture that finds it, and the step and the component that its message has to name."""

    name: str
    fixture: str
    step: int
    component: str


FIRST, SECOND = CUTS[0] + 1, CUTS[1] + 1
DEFECTS = (
    Defect("data stream restarts at the second resume", "twin", SECOND, "data"),
    Defect("scheduler stepped twice", "curve", 2, "learning rate"),
    Defect("RNG not saved", "twin", FIRST, "RNG of torch"),
    Defect("optimizer state dropped for one group", "twin", FIRST, "optimizer state of group 1"),
    Defect("accumulation averaged wrongly", "layout", 1, "loss"),
    Defect("sampler not seeded by epoch", "curve", PER_EPOCH + 1, "data"),
    Defect("dropout not restored", "twin", FIRST, "mode"),
    Defect("weight decay stale for the first step", "twin", FIRST, "weight decay"),
    Defect("mixed-precision scaler reset", "twin", FIRST, "scaler"),
    Defect("last partial batch dropped", "curve", PER_EPOCH, "data"),
    Defect("EMA not saved", "twin", FIRST, "ema"),
    Defect("clip before unscale", "curve", 1, "gradient norm"),
)
PLAIN = (
    DataRestarts, SchedulerTwice, GeneratorLost, GroupDropped, MeanOfMeans, SameOrderEveryEpoch, DropoutLost,
    WeightDecayStale, ScalerReset, LastBatchDropped, AverageLost, ClipScaled,
)  # fmt: skip
