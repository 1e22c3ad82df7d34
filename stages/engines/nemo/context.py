"""Context parallelism: the positions of every row divided over the ranks of a group, keys and values gathered.

Of n ranks, rank r has chunks r and 2n - 1 - r of 2n equal ones ("zig-zag"), because a causal row costs more at its end,
and because Megatron-Core's rotary embeddings and TransformerEngine's own context parallelism cut rows in this way: the
angles that Core applies to a rank's queries and keys are those of their places in the whole row.

Keys and values are gathered before attention, as for Llama 3 (arXiv 2407.21783, section 3.3.2): documents may lie
anywhere over the ranks, and keys and values of grouped heads are small next to the rest. One layer's are whole on a
rank at a time: the backward pass gathers them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from stages.models.context_parallel import Stretch, attend_stretch


def chunks(length: int, rank: int, ranks: int) -> tuple[range, range]:
    """A rank's two chunks of a row of `length` positions. ValueError where the row cannot be cut into equal ones."""
    if length % (2 * ranks):
        raise ValueError(
            f"rows of {length:,} positions are not divisible into the {2 * ranks} chunks of {ranks} context-parallel "
            f"ranks: a context that is a multiple of {2 * ranks}, or another `cp`"
        )
    size = length // (2 * ranks)
    first, second = rank * size, (2 * ranks - 1 - rank) * size
    return range(first, first + size), range(second, second + size)


def own(x: Tensor, rank: int, ranks: int, dim: int = 1) -> Tensor:
    """A rank's positions of x, whose dimension `dim` is the whole row: a view where it has all of them."""
    if ranks == 1:
        return x
    return torch.cat([x.narrow(dim, c.start, len(c)) for c in chunks(x.shape[dim], rank, ranks)], dim)


def whole(parts: Sequence[Tensor]) -> Tensor:
    """The row in order from all ranks' parts [T / n, ...]: their first chunks forwards, then the second ones back."""
    halves = [part.chunk(2) for part in parts]
    return torch.cat([*(first for first, _ in halves), *(second for _, second in reversed(halves))])


class _Gather(torch.autograd.Function):
    """From a rank's part to the whole row. Gradients are added here, in the ranks' order, in fp32."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        part = part.contiguous()
        parts = [torch.empty_like(part) for _ in range(group.size())]
        dist.all_gather(parts, part, group=group)
        return whole(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        group, ranks, grad = ctx.group, ctx.group.size(), grads[0]
        sent = torch.stack([own(grad, rank, ranks, dim=0) for rank in range(ranks)])
        received = torch.empty_like(sent)
        dist.all_to_all_single(received, sent, group=group)
        total = received[0].float()
        for part in received[1:]:
            total = total + part
        return total.to(grad.dtype), None


def attend_over_ranks(
    q: Tensor, k: Tensor, v: Tensor, segments: Tensor, group: dist.ProcessGroup, scale: float
) -> Tensor:
    """Causal attention inside documents of a rank's q [T/n, B, H, D] to all ranks' k [T/n, B, G, D], v [T/n, B, G, E].

    segments int32 [B, T] on the host, of the whole rows. -> [T/n, B, H, E].
    """
    rank, ranks, width = group.rank(), group.size(), k.shape[-1]
    length = q.shape[0] * ranks
    gathered = _Gather.apply(torch.cat([k, v], -1), group)
    keys, values = gathered[..., :width], gathered[..., width:]
    rows = segments.numpy()
    parts = chunks(length, rank, ranks)
    outputs = []
    for row, queries in enumerate(q.unbind(1)):
        halves = [
            attend_stretch(half, keys[:, row], values[:, row], stretch(rows[row].tobytes(), part, q.device), scale)
            for half, part in zip(queries.chunk(2), parts, strict=True)
        ]
        outputs.append(torch.cat(halves))
    return torch.stack(outputs, 1)


@lru_cache(maxsize=16)
def stretch(segments: bytes, part: range, device: torch.device) -> Stretch:
    """Where documents are in a part of a row of int32 segments: made once for all layers of a batch."""
    return Stretch(np.frombuffer(segments, dtype=np.int32), part.start, part.stop, device)
