"""What a loss is divided by, and which ranks' gradients are added up."""

from __future__ import annotations

from typing import Any

import pytest


def norms_not_added(patch: pytest.MonkeyPatch) -> None:
    """Under sequence parallelism the norms' gradients are each rank's own."""
    from stages.engines.nemo.norm import Norm

    real = Norm.__init__

    def init(self: Any, *given: Any, **named: Any) -> None:
        real(self, *given, **named)
        self.weight.sequence_parallel = False

    patch.setattr(Norm, "__init__", init)


def not_added_up(patch: pytest.MonkeyPatch) -> None:
    """Each replica keeps the gradients of its own rows."""
    from megatron.core.distributed import DistributedDataParallel

    patch.setattr(DistributedDataParallel, "finish_grad_sync", lambda *_, **__: None)


def halved(patch: pytest.MonkeyPatch) -> None:
    """The loss at each position is half of what it was, as of a loss that is a mean over two heads."""
    from megatron.core.models.gpt import GPTModel

    real = GPTModel.compute_language_model_loss
    patch.setattr(GPTModel, "compute_language_model_loss", lambda *given: real(*given) * 0.5)


def undivided(patch: pytest.MonkeyPatch) -> None:
    """Gradients are sums over tokens."""
    from megatron.core.distributed import DistributedDataParallel

    patch.setattr(DistributedDataParallel, "scale_gradients", lambda *_: None)
