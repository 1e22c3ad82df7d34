"""RMSNorm for Megatron-Core's layers: ours, so that both engines compute one formula."""

from __future__ import annotations

from typing import Any

from stages.models.common import RMSNorm


class Norm(RMSNorm):
    """`RMSNorm` as Core builds its norms. Core's own for machines without TransformerEngine refuses sequence parallel.

    Under sequence parallel every rank norms its share of the positions, so Core adds the gain's gradients up over the
    tensor-parallel ranks: it looks for `sequence_parallel` on the parameter.
    """

    def __init__(self, config: Any, hidden_size: int, eps: float) -> None:
        super().__init__(hidden_size, eps)
        self.weight.sequence_parallel = config.sequence_parallel
