"""What is built: fields of Bridge's configuration, and numbers and parts of layers."""

from __future__ import annotations

from typing import Any

import pytest

from stages.spec.resolved import Stage
from tests.nemo.traps import Patch


def fields(section: str, **values: Any) -> Patch:
    """A recipe, a plugin or a new version sets fields of Bridge's configuration after ours."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        from stages.engines.nemo import provider

        real = provider.configured

        def configured(stage: Stage) -> Any:
            whole = real(stage)
            for name, value in values.items():
                setattr(getattr(whole, section), name, value)
            return whole

        patch.setattr(provider, "configured", configured)

    return apply


def adam_defaults(patch: pytest.MonkeyPatch) -> None:
    """Core's own beta2 in the place of the spec's."""
    from megatron.core.optimizer import OptimizerConfig

    real = OptimizerConfig.__post_init__

    def post(self: Any) -> None:
        self.adam_beta2 = 0.999
        real(self)

    patch.setattr(OptimizerConfig, "__post_init__", post)


def cores_rotary(patch: pytest.MonkeyPatch) -> None:
    """Core's own rotary positions: original context 8192 hard-coded, our interpolation unknown."""
    from stages.engines.nemo import llama

    patch.setattr(llama, "place", lambda *_: None)


def rounded_rotary(patch: pytest.MonkeyPatch) -> None:
    """Frequencies in the model's half precision."""
    from stages.engines.nemo import rotary

    real = rotary.Rotary.__init__

    def init(self: Any, *given: Any) -> None:
        real(self, *given)
        self.inv_freq = self.inv_freq.bfloat16().float()

    patch.setattr(rotary.Rotary, "__init__", init)


def mask_dropped(patch: pytest.MonkeyPatch) -> None:
    """A layer hands its attention no mask, since the kernel is causal anyway."""
    from stages.engines.nemo.attention import DocumentAttention

    real = DocumentAttention.forward
    patch.setattr(
        DocumentAttention, "forward", lambda self, q, k, v, mask, /, **named: real(self, q, k, v, None, **named)
    )


def scaled(patch: pytest.MonkeyPatch) -> None:
    """A layer hands its attention another scale than 1 / sqrt(width)."""
    from stages.engines.nemo.attention import DocumentAttention

    real = DocumentAttention.__init__
    patch.setattr(
        DocumentAttention,
        "__init__",
        lambda self, *given, **named: real(self, *given, **named | {"softmax_scale": 0.1}),
    )


def other_eps(patch: pytest.MonkeyPatch) -> None:
    """A layer hands its norms an epsilon of its own."""
    from stages.engines.nemo.norm import Norm

    real = Norm.__init__
    patch.setattr(Norm, "__init__", lambda self, config, hidden_size, eps: real(self, config, hidden_size, 1e-3))


def other_factor(patch: pytest.MonkeyPatch) -> None:
    """Routers weigh what they have chosen by another factor."""
    from stages.engines.nemo.router import Router

    real = Router.__init__

    def init(self: Any, *given: Any, **named: Any) -> None:
        real(self, *given, **named)
        self.scale = 1.0

    patch.setattr(Router, "__init__", init)
