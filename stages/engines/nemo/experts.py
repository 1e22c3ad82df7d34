"""The routed experts of one expert-parallel rank, behind Megatron-Core's dispatch of tokens.

Their matrices are stacked as the torch engine stacks them, gate and up apart: Muon orthogonalises each as Moonlight
does (arXiv 2502.16982), and a rank's stack is a range of the file's experts. The products are `stages.models.experts`:
one by one on a CPU, grouped on a GPU in bf16.
"""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.dist_checkpointing.mapping import ShardedTensor
from torch import Tensor

from stages.models.experts import Experts
from stages.spec.families.moonlight import MoonlightModel


class LocalExperts(Experts):
    """This rank's experts: gate and up [E, F, H], down [E, H, F], with E of the model's experts."""

    def __init__(
        self, cfg: MoonlightModel, local: int, config: Any, *, pg_collection: Any, name: str | None = None
    ) -> None:
        super().__init__(cfg.hidden, local, cfg.expert_ffn)
        self.groups = pg_collection
        for parameter in self.parameters():
            parameter.allreduce = False  # Core's word for: the ranks that have the same experts add these gradients up

    def forward(self, x: Tensor, tokens: Tensor, weights: Tensor) -> tuple[Tensor, None]:
        """Weighted outputs [n, H] of x [n, H], expert by expert: tokens int64 [E] of each, weights [n]; and no bias."""
        order = torch.arange(len(tokens), device=x.device)
        chosen = order.repeat_interleave(tokens.to(x.device), output_size=len(x))
        return super().forward(x, chosen[:, None], weights[:, None]), None

    def backward_dw(self) -> None:
        """Nothing is left for later: gradients of the matrices are taken with those of the tokens."""

    def sharded_state_dict(
        self, prefix: str = "", sharded_offsets: tuple[tuple[int, int, int], ...] = (), metadata: Any = None
    ) -> dict[str, ShardedTensor]:
        """The stacks as ranges of the whole model's, for Core's checkpoints; each rank of the same experts has all."""
        rank, size, copy = self.groups.ep.rank(), self.groups.ep.size(), self.groups.expt_dp.rank()
        axis = len(sharded_offsets)
        return {
            f"{prefix}{name}": ShardedTensor.from_rank_offsets(
                f"{prefix}{name}", parameter, *sharded_offsets, (axis, rank, size), replica_id=(0, 0, copy),
                prepend_axis_num=axis,
            )
            for name, parameter in self.named_parameters()
        }  # fmt: skip
