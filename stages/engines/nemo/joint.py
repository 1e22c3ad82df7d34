"""Text and images together: `Routed` whose first pipeline stage begins with `vision.embed`."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from stages.engines.nemo import vision
from stages.engines.nemo.causal import inner
from stages.engines.nemo.data import Micro
from stages.engines.nemo.routed import Routed


class Joint(Routed):
    """The joint stages of Kimi-VL; on text alone the tower does not run."""

    def call(self, chunk: Any, micro: Micro, **more: Any) -> Tensor:
        """As `Routed`, with images in the stream."""
        model = inner(chunk)
        begin = vision.embed(model, micro) if model.pre_process else None
        return super().call(chunk, micro, decoder_input=begin, **more)
