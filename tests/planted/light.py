"""The same training by Lightning, and ten of the defects: on a CPU it has no GradScaler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from stages.testing import trainers
from stages.testing.watch import Watch
from tests.planted.plain import BATCH, IGNORED, MICRO, PER_EPOCH, SAMPLES, Model, corpus, summed

Batch = tuple[Tensor, Tensor, Tensor]
QUIET: dict[str, Any] = dict.fromkeys(
    ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
)


class Module(pl.LightningModule):
    def __init__(self, loop: Light) -> None:
        super().__init__()
        self.model = Model(loop.dropout)
        object.__setattr__(self, "loop", loop)

    def training_step(self, batch: Batch, number: int) -> Tensor:
        tokens, labels, counts = batch
        return summed(self.model, tokens, labels) * self.loop.share(labels, counts[0])

    def configure_optimizers(self) -> Any:
        matrices = [one for one in self.parameters() if one.ndim > 1]
        vectors = [one for one in self.parameters() if one.ndim == 1]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=1e-2)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step / 20))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.loop.set_weight_decay(optimizer, self.trainer.global_step)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        self.loop.schedule(scheduler)


class Carried(pl.Callback):
    """The generator's state and an average of the weights: what Lightning's checkpoints do not have."""

    def __init__(self, loop: Light) -> None:
        self.loop = loop

    def on_train_batch_end(self, trainer: Any, module: Any, *rest: Any) -> None:
        if trainer.global_step > self.loop.done:
            self.loop.done = trainer.global_step
            self.loop.read += 1
            for kept, new in zip(self.loop.ema.parameters(), module.model.parameters(), strict=True):
                kept.lerp_(new.detach(), 0.1)

    def state_dict(self) -> dict[str, Any]:
        return self.loop.state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loop.saved = state

    def on_train_start(self, trainer: Any, module: Any) -> None:
        if self.loop.saved is not None:
            self.loop.restore(self.loop.saved, trainer, module)


class Rows(torch.utils.data.IterableDataset[Batch]):
    """The rest of an epoch in micro-batches; beside each row, how many labels its step has."""

    def __init__(self, loop: Light) -> None:
        self.loop = loop

    def __iter__(self) -> Iterator[Batch]:
        tokens, labels = corpus()
        for rows in self.loop.steps():
            count = (labels[rows] != IGNORED).sum()
            for part in rows.split(self.loop.micro):
                yield tokens[part], labels[part], count.expand(len(part))


class Light:
    micro, last, dropout, seed = MICRO, PER_EPOCH, 0.1, 7

    def train(self, until: int, folder: Path, watch: Watch) -> nn.Module:
        torch.manual_seed(self.seed)
        self.done = self.read = self.begin = 0
        self.saved: dict[str, Any] | None = None
        module = Module(self)
        self.ema = Model().requires_grad_(False)
        self.ema.load_state_dict(module.model.state_dict())
        checkpoint = folder / "last.ckpt"
        trainer = pl.Trainer(
            max_steps=10**6, max_epochs=-1, accelerator="cpu", accumulate_grad_batches=BATCH // self.micro,
            gradient_clip_val=0.5, callbacks=[Carried(self)],
            num_sanity_val_steps=0, default_root_dir=folder, **QUIET,
        )  # fmt: skip
        if checkpoint.exists():
            self.done = self.begin = int(torch.load(checkpoint, weights_only=False)["global_step"])
            self.read = self.position(torch.load(checkpoint, weights_only=False)["callbacks"]["Carried"])
        trainers.lightning(trainer, until, watch, checkpoint, ema=self.ema)
        loader = torch.utils.data.DataLoader(Rows(self), batch_size=None)
        trainer.fit(module, loader, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=False)
        return module.model

    def steps(self) -> Iterator[Tensor]:
        """Numbers of the samples of the steps that are left of this epoch."""
        epoch, place = divmod(self.read, self.last)
        order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(self.epoch_seed(epoch)))
        yield from order.split(BATCH)[place : self.last]

    def epoch_seed(self, epoch: int) -> int:
        return 100 * self.seed + epoch

    def position(self, state: dict[str, Any]) -> int:
        return int(state["read"])

    def share(self, labels: Tensor, count: Tensor) -> Tensor:
        """What a micro-batch's sum is multiplied by, before Lightning divides by their number."""
        return BATCH // self.micro / count

    def set_weight_decay(self, optimizer: Any, step: int) -> None:
        optimizer.param_groups[0]["weight_decay"] = 0.1 / (1 + step / 20)

    def schedule(self, scheduler: Any) -> None:
        scheduler.step()

    def state(self) -> dict[str, Any]:
        return {"rng": torch.get_rng_state(), "ema": self.ema.state_dict(), "read": self.read}

    def restore(self, state: dict[str, Any], trainer: Any, module: Any) -> None:
        self.ema.load_state_dict(state["ema"])
        torch.set_rng_state(state["rng"])


class DataRestarts(Light):
    def state(self) -> dict[str, Any]:
        return super().state() | {"read": self.done - self.begin}


class SchedulerTwice(Light):
    def schedule(self, scheduler: Any) -> None:
        scheduler.step()
        scheduler.step()


class GeneratorLost(Light):
    """As Lightning does by itself."""

    def restore(self, state: dict[str, Any], trainer: Any, module: Any) -> None:
        super().restore(state | {"rng": torch.get_rng_state()}, trainer, module)


class GroupDropped(Light):
    def restore(self, state: dict[str, Any], trainer: Any, module: Any) -> None:
        super().restore(state, trainer, module)
        (optimizer,) = trainer.optimizers
        for parameter in optimizer.param_groups[1]["params"]:
            del optimizer.state[parameter]


class MeanOfMeans(Light):
    """As Lightning does by itself with a mean."""

    def share(self, labels: Tensor, count: Tensor) -> Tensor:
        return 1 / (labels != IGNORED).sum()


class SameOrderEveryEpoch(Light):
    def epoch_seed(self, epoch: int) -> int:
        return super().epoch_seed(0)


class DropoutLost(Light):
    def restore(self, state: dict[str, Any], trainer: Any, module: Any) -> None:
        super().restore(state, trainer, module)
        module.eval()


class WeightDecayStale(Light):
    def set_weight_decay(self, optimizer: Any, step: int) -> None:
        super().set_weight_decay(optimizer, 0 if step == self.begin else step)


class LastBatchDropped(Light):
    last = PER_EPOCH - 1


class AverageLost(Light):
    def restore(self, state: dict[str, Any], trainer: Any, module: Any) -> None:
        super().restore(state | {"ema": module.model.state_dict()}, trainer, module)


LIGHT: tuple[Callable[[], Light] | None, ...] = (
    DataRestarts, SchedulerTwice, GeneratorLost, GroupDropped, MeanOfMeans, SameOrderEveryEpoch, DropoutLost,
    WeightDecayStale, None, LastBatchDropped, AverageLost, None,
)  # fmt: skip
