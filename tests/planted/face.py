"""The same training by Hugging Face's Trainer, and ten of the defects: on a CPU it has no GradScaler."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from accelerate.data_loader import SeedableRandomSampler
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments, trainer
from transformers.trainer_utils import get_last_checkpoint

from stages.testing import trainers
from stages.testing.watch import Watch
from tests.planted.plain import IGNORED, Model, corpus, summed

SAMPLES, TOTAL = 21, 48  # steps of two micro-batches of two; the last step of an epoch has one sample


class WithLoss(Model):
    def forward(self, tokens: Tensor, labels: Tensor | None = None, **counted: Any) -> Any:
        if labels is None:
            return super().forward(tokens)
        count = counted.get("num_items_in_batch")
        loss = summed(super().forward, tokens, labels)
        return {"loss": loss / ((labels != IGNORED).sum() if count is None else count)}


class Carried(TrainerCallback):
    """An average of the weights, and a weight decay that falls: what the Trainer itself does not know."""

    def __init__(self, loop: Face) -> None:
        self.loop = loop

    def on_train_begin(self, args: Any, state: Any, control: Any, **found: Any) -> None:
        self.begin = state.global_step
        self.loop.resumed(self.begin, found["model"])

    def on_step_begin(self, args: Any, state: Any, control: Any, **found: Any) -> None:
        self.loop.set_weight_decay(found["optimizer"], state.global_step, self.begin)

    def on_step_end(self, args: Any, state: Any, control: Any, **found: Any) -> None:
        for kept, new in zip(self.loop.ema.parameters(), found["model"].parameters(), strict=True):
            kept.lerp_(new.detach(), 0.1)
        self.loop.after(found["lr_scheduler"])

    def on_save(self, args: Any, state: Any, control: Any, **found: Any) -> None:
        torch.save(self.loop.ema.state_dict(), self.loop.average(state.global_step))


class Face:
    trainer: type[Trainer] = Trainer
    micro, accumulated, dropout, seed = 2, 2, 0.1, 7
    drop_last = False

    def train(self, until: int, folder: Path, watch: Watch) -> nn.Module:
        torch.manual_seed(self.seed)
        self.folder, model, self.ema = folder, WithLoss(self.dropout), WithLoss().requires_grad_(False)
        self.ema.load_state_dict(model.state_dict())
        tokens, labels = corpus(samples=SAMPLES)
        rows = [{"tokens": one, "labels": two} for one, two in zip(tokens, labels, strict=True)]
        made = self.trainer(model, self.arguments(), train_dataset=rows, callbacks=[Carried(self)])
        self.prepare(made)
        trainers.hugging_face(made, until, watch, ema=self.ema)
        with self.patched(len(list(folder.glob("checkpoint-*")))):
            made.train(resume_from_checkpoint=get_last_checkpoint(folder))
        return model

    def arguments(self) -> TrainingArguments:
        return TrainingArguments(
            self.folder, max_steps=TOTAL, per_device_train_batch_size=self.micro, learning_rate=1e-2,
            gradient_accumulation_steps=self.accumulated, weight_decay=0.1, max_grad_norm=0.5, seed=self.seed,
            use_cpu=True, report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
            dataloader_pin_memory=False, dataloader_drop_last=self.drop_last,
        )  # fmt: skip

    def average(self, step: int) -> Path:
        return self.folder / f"average-{step}.pt"

    def resumed(self, step: int, model: Any) -> None:
        if step:
            self.ema.load_state_dict(torch.load(self.average(step)))

    def set_weight_decay(self, optimizer: Any, step: int, begin: int) -> None:
        optimizer.param_groups[0]["weight_decay"] = 0.1 / (1 + step / 20)

    def after(self, scheduler: Any) -> None:
        """Called after each step."""

    def prepare(self, made: Trainer) -> None:
        """Called before training."""

    def patched(self, resumes: int) -> Any:
        return contextlib.nullcontext()


class DataRestarts(Face):
    def patched(self, resumes: int) -> Any:
        if resumes < 2:
            return super().patched(resumes)
        return mock.patch.object(trainer, "skip_first_batches", lambda loader, count: loader)


class SchedulerTwice(Face):
    def after(self, scheduler: Any) -> None:
        scheduler.step()


class GeneratorLost(Face):
    class trainer(Trainer):  # noqa: N801
        def _load_rng_state(self, checkpoint: Any) -> None:
            pass


class GroupDropped(Face):
    class trainer(Trainer):  # noqa: N801
        def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
            super()._load_optimizer_and_scheduler(checkpoint)
            for parameter in self.optimizer.param_groups[1]["params"]:
                self.optimizer.state.pop(parameter, None)


class MeanOfMeans(Face):
    """What the Trainer did before version 4.46."""

    def prepare(self, made: Trainer) -> None:
        made.model_accepts_loss_kwargs = False


class SameOrderEveryEpoch(Face):
    def patched(self, resumes: int) -> Any:
        return mock.patch.object(SeedableRandomSampler, "set_epoch")


class DropoutLost(Face):
    """A rate that the loop had set is the constructor's again."""

    def resumed(self, step: int, model: Any) -> None:
        super().resumed(step, model)
        if step:
            model.dropout.p = 0.0


class WeightDecayStale(Face):
    def set_weight_decay(self, optimizer: Any, step: int, begin: int) -> None:
        super().set_weight_decay(optimizer, 0 if step == begin else step, begin)


class LastBatchDropped(Face):
    drop_last = True


class AverageLost(Face):
    def resumed(self, step: int, model: Any) -> None:
        if step:
            self.ema.load_state_dict(model.state_dict())


FACE: tuple[Callable[[], Face] | None, ...] = (
    DataRestarts, SchedulerTwice, GeneratorLost, GroupDropped, MeanOfMeans, SameOrderEveryEpoch, DropoutLost,
    WeightDecayStale, None, LastBatchDropped, AverageLost, None,
)  # fmt: skip
