"""Loops that a library's trainer runs: where `watch` is called, and how they stop after a step.

Neither library is imported before its function is called.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from stages.testing.golden import GoldenError
from stages.testing.watch import Watch


def hugging_face(trainer: Any, until: int, watch: Watch, **more: Any) -> None:
    """Have a transformers.Trainer call `watch` before each update, and save a checkpoint and stop after step `until`.

    `more`: as Watch takes it. The gradient is as it is after clipping.
    """
    from transformers import TrainerCallback

    batches: list[Any] = []
    losses: list[float] = []
    computed = trainer.training_step

    def training_step(model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        loss = computed(model, inputs, *rest, **named)
        batches.append(dict(inputs))
        losses.append(float(loss.detach()))
        return loss

    class Watching(TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **found: Any) -> None:
            """Called after clipping, before the update."""
            model, optimizer = found["model"], found["optimizer"]
            watch(loss=sum(losses), batch=list(batches), model=model, optimizer=optimizer, **more)
            batches.clear()
            losses.clear()

        def on_step_end(self, args: Any, state: Any, control: Any, **found: Any) -> None:
            if state.global_step >= until:
                control.should_save = control.should_training_stop = True

    trainer.training_step = training_step
    trainer.add_callback(Watching())


def lightning(trainer: Any, until: int, watch: Watch, checkpoint: Path, **more: Any) -> None:
    """Have a Lightning Trainer call `watch` before each update, and save `checkpoint` and stop after step `until`.

    For automatic optimization with one optimizer. `more`: as Watch takes it. The gradient is as it is after clipping.
    """
    package = _package(trainer)
    batches: list[Any] = []
    losses: list[float] = []

    class Watching(package.Callback):  # type: ignore[name-defined]
        def on_fit_start(self, trainer: Any, module: Any) -> None:
            clip = module.configure_gradient_clipping

            def clipped(optimizer: Any, *rest: Any, **named: Any) -> None:
                clip(optimizer, *rest, **named)
                watch(loss=sum(losses), batch=list(batches), model=module, optimizer=optimizer, **more)
                batches.clear()
                losses.clear()

            module.configure_gradient_clipping = clipped

        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, place: int) -> None:
            batches.append(batch)

        def on_before_backward(self, trainer: Any, module: Any, loss: Any) -> None:
            losses.append(float(loss.detach()))

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, place: int) -> None:
            # Within the loop: after fit() a checkpoint would say that the epoch is over.
            if trainer.global_step >= until and not trainer.should_stop:
                trainer.save_checkpoint(checkpoint)
                trainer.should_stop = True

    trainer.callbacks.append(Watching())


def _package(trainer: Any) -> Any:
    """lightning.pytorch or pytorch_lightning, whichever a trainer is of."""
    for one in type(trainer).__mro__:
        for name in ("lightning.pytorch", "pytorch_lightning"):
            if one.__name__ == "Trainer" and one.__module__.startswith(f"{name}."):
                return importlib.import_module(name)
    raise GoldenError(
        f"a Lightning Trainer was expected, and found {type(trainer).__module__}.{type(trainer).__name__}."
    )
