"""What comes in from a parent: names, order in fused matrices, moments and their clock."""

from __future__ import annotations

from typing import Any

import pytest
import torch


def swapped(patch: pytest.MonkeyPatch) -> None:
    """Another version's order in linear_fc1: up before gate."""
    from stages.engines.nemo.layout import Below

    split, join = Below.split, Below.join
    patch.setattr(Below, "split", lambda self, fused: split(self, fused)[::-1])
    patch.setattr(Below, "join", lambda self, parts: join(self, list(parts)[::-1]))


def regrouped(patch: pytest.MonkeyPatch) -> None:
    """linear_qkv with all queries first, as other software has it."""
    from stages.engines.nemo.layout import QueryGroups

    def split(self: Any, fused: Any) -> Any:
        each = fused.shape[0] // (self.queries + 2)
        return list(fused.split([each * self.queries, each, each]))

    patch.setattr(QueryGroups, "split", split)
    patch.setattr(QueryGroups, "join", lambda self, parts: torch.cat(list(parts)))


def weights_only(patch: pytest.MonkeyPatch) -> None:
    """`pretrained_checkpoint`, or `finetune`: weights come in, the optimizer starts again."""
    from stages.engines.nemo import handover

    patch.setattr(handover, "load_state", lambda *_: None)


def clock_dropped(patch: pytest.MonkeyPatch) -> None:
    """Moments come in, the number of their updates does not: bias correction starts again."""
    from stages.engines.nemo import handover

    real = handover.load_state

    def load(parameters: Any, shapes: Any, read: Any, module: str, step: int) -> None:
        real(parameters, shapes, read, module, 0)

    patch.setattr(handover, "load_state", load)


def drawn_again(patch: pytest.MonkeyPatch) -> None:
    """Weights are initialised after they were loaded."""
    from stages.engines.nemo.trainer import NemoTrainer

    real = NemoTrainer.begin

    def begin(self: Any) -> None:
        real(self)
        with torch.no_grad():
            parameters = self._chunks[0].named_parameters()
            next(one for name, one in parameters if "linear_fc2" in name).normal_(0.0, 0.02)

    patch.setattr(NemoTrainer, "begin", begin)


def bias_reset(patch: pytest.MonkeyPatch) -> None:
    """The router's bias is no parameter: it is zero again after loading."""
    from stages.engines.nemo.trainer import NemoTrainer

    real = NemoTrainer.begin

    def begin(self: Any) -> None:
        real(self)
        for chunk in self._chunks:
            for name, buffer in chunk.named_buffers():
                if name.endswith("correction_bias"):
                    buffer.zero_()

    patch.setattr(NemoTrainer, "begin", begin)
