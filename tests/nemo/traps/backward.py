"""What is wrong in a backward pass alone: the states of a forward pass, and the last norm's gradient, are right."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.nemo.traps import Patch


class _Scaled(torch.autograd.Function):
    """Unchanged in the forward pass, multiplied in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None


def scaled(x: Tensor, factor: float) -> Tensor:
    found: Tensor = _Scaled.apply(x, factor)
    return found


def pipeline(patch: pytest.MonkeyPatch) -> None:
    """A pipeline stage hands half of the gradient to the one before it."""
    from megatron.core.pipeline_parallel.p2p_communication import P2PCommunicator

    def halved(name: str) -> None:
        real = getattr(P2PCommunicator, name)

        def received(self: Any, *given: Any, **named: Any) -> Any:
            found = real(self, *given, **named)
            if isinstance(found, list):
                return [one if one is None else one * 0.5 for one in found]
            return found if found is None else found * 0.5

        patch.setattr(P2PCommunicator, name, received)

    for name in ("recv_backward", "send_forward_recv_backward"):
        halved(name)


def keys_of_own_rank(patch: pytest.MonkeyPatch) -> None:
    """Context-parallel ranks keep the gradients that their own queries give to their keys."""
    from stages.engines.nemo import context

    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return context.own(gradients[0], ctx.group.rank(), ctx.group.size(), dim=0).contiguous(), None

    patch.setattr(context._Gather, "backward", staticmethod(backward))


def attention(factor: float) -> Patch:
    """Values take a multiple of their gradient."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        from stages.engines.nemo import attention

        real = attention.attend
        patch.setattr(attention, "attend", lambda q, k, v, where, scale: real(q, k, scaled(v, factor), where, scale))

    return apply


def overwritten(patch: pytest.MonkeyPatch) -> None:
    """Of matrices, each micro-batch's gradients take the place of those of the one before."""
    from megatron.core.distributed import DistributedDataParallel

    real = DistributedDataParallel._make_backward_post_hook

    def made(self: Any, parameter: Any) -> Any:
        add = real(self, parameter)

        def hook(*given: Any) -> None:
            if parameter.ndim == 2 and parameter.grad is not None:
                parameter.main_grad.zero_()
            add(*given)

        return hook

    patch.setattr(DistributedDataParallel, "_make_backward_post_hook", made)


def experts_shared(patch: pytest.MonkeyPatch) -> None:
    """Gradients of experts are divided by the ranks that share them."""
    from stages.engines.nemo.experts import LocalExperts

    real = LocalExperts.forward

    def forward(self: Any, *given: Any, **named: Any) -> Any:
        output, *rest = real(self, *given, **named)
        return scaled(output, 0.5), *rest

    patch.setattr(LocalExperts, "forward", forward)


def unbalanced(patch: pytest.MonkeyPatch) -> None:
    """The balance loss is computed, and nothing is learnt from it."""
    from stages.engines.nemo import router

    class Nothing:
        @staticmethod
        def apply(weights: Tensor, loss: Tensor) -> Tensor:
            return weights

    patch.setattr(router, "MoEAuxLossAutoScaler", Nothing)


def half_a_head(patch: pytest.MonkeyPatch) -> None:
    """The output matrix of a looped model takes half of its gradient, which tied embeddings hide."""
    from stages.engines.nemo.ouro import LoopedModel

    real = LoopedModel._matrix
    patch.setattr(LoopedModel, "_matrix", lambda self: scaled(real(self), 0.5))


def unseen(patch: pytest.MonkeyPatch) -> None:
    """The vision tower takes no gradient."""
    from stages.engines.nemo.vision import Vision

    real = Vision.forward
    patch.setattr(Vision, "forward", lambda self, *given: scaled(real(self, *given), 0.0))


def no_way_to_words(patch: pytest.MonkeyPatch) -> None:
    """Embeddings take no gradient."""
    from megatron.core.models.common.embeddings.language_model_embedding import LanguageModelEmbedding

    real = LanguageModelEmbedding.forward
    patch.setattr(
        LanguageModelEmbedding, "forward", lambda self, *given, **named: scaled(real(self, *given, **named), 0.0)
    )
