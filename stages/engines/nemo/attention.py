"""Our core attention for Megatron-Core: causal inside documents, by the attention of the torch engine.

Core's own `DotProductAttention` makes a dense mask and matrix of scores, and takes neither packed documents nor
context parallelism without TransformerEngine. This one takes the documents' numbers in the place of the attention mask:
`segments` int32 [B, T] of whole rows, on the host on every device, so that no layer waits for a GPU to learn where
documents are. Never executed on a GPU.
"""

from __future__ import annotations

from functools import lru_cache
from math import isclose
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from stages.engines.nemo.context import attend_over_ranks
from stages.models.attention import attend, widened
from stages.models.documents import Documents

# Fields of Core's configuration that would change attention, and the value with which it is ours.
PLAIN = {
    "attention_dropout": 0.0,
    "apply_query_key_layer_scaling": False,
    "window_size": None,
    "softmax_type": "vanilla",
}


class DocumentAttention(nn.Module):
    """`core_attention` of a layer specification: grouped heads, and values of another width than keys (MLA).

    Raises ValueError where the configuration asks for attention of another kind.
    """

    def __init__(
        self,
        config: Any,
        layer_number: int,
        attn_mask_type: Any,
        attention_type: str,
        attention_dropout: float | None = None,
        softmax_scale: float | None = None,
        cp_comm_type: str | None = None,
        pg_collection: Any = None,
        k_channels: int | None = None,
        v_channels: int | None = None,
    ) -> None:
        super().__init__()
        for field, value in PLAIN.items():
            if (found := getattr(config, field)) != value:
                raise ValueError(f"{field}={found!r}: our attention computes with {value!r} only")
        if attention_dropout:
            raise ValueError(f"attention_dropout={attention_dropout}: our attention has none")
        usual = (k_channels or config.kv_channels) ** -0.5
        self.scale = softmax_scale or usual
        if not isclose(self.scale, usual, rel_tol=1e-6):
            raise ValueError(f"softmax_scale={softmax_scale}: our attention multiplies scores by {usual:g} only")
        self._ranks = pg_collection.cp if config.context_parallel_size > 1 else None

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor,
        /,
        *,
        attn_mask_type: Any = None,
        attention_bias: Tensor | None = None,
        packed_seq_params: Any = None,
    ) -> Tensor:
        """query [s, B, H, D], key [s, B, G, D], value [s, B, G, E] -> [s, B, H * E]; s is this rank's share of T.

        `attention_mask` has the segments. Raises ValueError where Core hands over none, or a mask of its own.
        """
        if attention_bias is not None or packed_seq_params is not None:
            raise ValueError("documents come as segments in the place of the attention mask, not as a bias or packed")
        segments = _checked(attention_mask, query, 1 if self._ranks is None else self._ranks.size())
        query, key = widened(query, value.shape[-1]), widened(key, value.shape[-1])
        if self._ranks is not None:
            return self._over_ranks(query, key, value, segments).flatten(2)
        where = documents(segments.numpy().tobytes(), segments.shape, query.device)
        rows = [x.transpose(0, 1) for x in (query, key, value)]
        return attend(rows[0], rows[1], rows[2], where, self.scale).transpose(0, 1).flatten(2)

    def _over_ranks(self, *inputs: Tensor) -> Tensor:
        """What was gathered is not kept for the backward pass, which gathers it again.

        Where Core itself computes this layer again, that is done already.
        """
        from megatron.core.tensor_parallel.random import is_checkpointing

        if torch.is_grad_enabled() and not is_checkpointing():
            given = (*inputs, self._ranks, self.scale)
            return checkpoint(attend_over_ranks, *given, use_reentrant=False, preserve_rng_state=False)
        query, key, value, segments = inputs
        return attend_over_ranks(query, key, value, segments, self._ranks, self.scale)


def _checked(segments: Tensor | None, query: Tensor, ranks: int) -> Tensor:
    wanted = (query.shape[1], query.shape[0] * ranks)
    if segments is None or (segments.dtype, segments.device.type, segments.shape) != (torch.int32, "cpu", wanted):
        found = "none" if segments is None else f"{segments.dtype} {list(segments.shape)} on {segments.device.type}"
        raise ValueError(
            f"segments: found {found}; allowed: int32 {list(wanted)} on the host, whole rows on every rank"
        )
    return segments


@lru_cache(maxsize=16)
def documents(segments: bytes, shape: tuple[int, int], device: torch.device) -> Documents | None:
    """The documents of rows with int32 segments, made once for all layers of a batch; None: each row is one."""
    found = Documents(np.frombuffer(segments, dtype=np.int32).reshape(shape), device)
    return None if found.one_a_row else found
