"""Text and images together: `Routed` whose first pipeline stage begins with `vision.embed`."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from stages.engines.nemo import vision
from stages.engines.nemo.causal import Loss, inner
from stages.engines.nemo.data import Micro
from stages.engines.nemo.routed import Routed, padding


class Joint(Routed):
    """The joint stages of Kimi-VL; on text alone the tower does not run."""

    def forward(self, chunk: Any, micro: Micro) -> tuple[Tensor, Loss]:
        """As `Routed`, with images in the stream."""
        model = inner(chunk)
        begin = vision.embed(model, micro) if model.pre_process else None
        output = chunk(
            micro.tokens,
            micro.positions,
            micro.segments,
            labels=micro.labels,
            padding_mask=padding(micro),
            decoder_input=begin,
        )
        return output, self.loss(micro)
