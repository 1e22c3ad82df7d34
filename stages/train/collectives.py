"""Tensors between ranks, a bucket at a time, in an order that no library chooses.

Only moves are left to gloo or NCCL (all-to-all, all-gather, broadcast); the additions are made here, along the tree of
`stages.train.reduce`. Memory besides the tensors themselves is that of two buckets, whatever their size. `wire` is
where a tensor has to be for the process group that moves it: the host for gloo, the GPU for NCCL.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import torch
import torch.distributed as dist
from torch import Tensor

from stages.train.reduce import combine
from stages.train.shards import Borders, buckets

# x + (-0.0) is x for every x, zeros of either sign included; x + 0.0 turns -0.0 into 0.0.
NOTHING = -0.0
# torch 2.13 has it under a new name and warns of the old one, the only one that earlier releases have.
ALL_GATHER = dist.all_gather_single if hasattr(dist, "all_gather_single") else dist.all_gather_into_tensor
BUCKET = 1 << 24  # elements that are exchanged at once: 64 MiB in fp32. It bounds memory and changes no bit


def all_reduce(flats: Sequence[Tensor], ranks: int, wire: torch.device) -> None:
    """Sum tensors [n] of all ranks in place: each rank adds up one slice of a bucket and gives it to the others.

    That moves as many bytes as an all-reduce does.
    """
    if len({flat.dtype for flat in flats}) > 1:
        raise AssertionError("gradients of several dtypes")
    sizes = [flat.numel() for flat in flats]
    width = min(-(-sum(sizes) // ranks), max(1, BUCKET // ranks))
    sent = torch.empty(ranks * width, dtype=flats[0].dtype, device=wire)
    received = torch.empty_like(sent)
    for bucket in buckets(sizes, len(sent)):
        pieces = [flats[i][start:stop] for i, start, stop in bucket]
        places = _laid(sent, pieces)
        torch._foreach_copy_(places, pieces)
        sent[sum(map(len, pieces)) :] = NOTHING
        dist.all_to_all_single(received, sent)
        total = combine([[row] for row in received.split(width)])
        if total is None or total[0] is None:
            raise AssertionError("a sum over ranks without ranks")
        ALL_GATHER(sent, total[0])
        torch._foreach_copy_(pieces, places)


def all_gather_parts(
    flats: Sequence[Tensor], borders: Sequence[Borders], rank: int, ranks: int, wire: torch.device
) -> None:
    """Give every rank what the others own of tensors [n], in place."""
    owned = [[flat[cut[r] : cut[r + 1]] for flat, cut in zip(flats, borders, strict=True)] for r in range(ranks)]
    longest = max(sum(map(len, pieces)) for pieces in owned)
    width = min(longest, max(1, BUCKET // ranks))
    own = torch.zeros(width, dtype=flats[0].dtype, device=wire)
    everyone = own.new_empty(ranks, width)
    lines = [buckets([len(piece) for piece in pieces], width) for pieces in owned]
    for turn in zip_longest(*lines, fillvalue=()):
        parts = [[pieces[i][a:b] for i, a, b in bucket] for pieces, bucket in zip(owned, turn, strict=True)]
        if parts[rank]:
            torch._foreach_copy_(_laid(own, parts[rank]), parts[rank])
        ALL_GATHER(everyone.view(-1), own)
        for other, (line, part) in enumerate(zip(everyone, parts, strict=True)):
            if part and other != rank:
                torch._foreach_copy_(part, _laid(line, part))


def gather_parts(own: Tensor, borders: Borders, rank: int, ranks: int, wire: torch.device) -> Tensor | None:
    """A tensor [n] of which every rank has the range that it owns: whole on the first rank, None on the others."""
    whole = own.new_empty(borders[-1]) if rank == 0 else None
    line = torch.empty(min(BUCKET, borders[-1]), dtype=own.dtype, device=wire)
    for owner in range(ranks):
        for start in range(borders[owner], borders[owner + 1], BUCKET):
            stop = min(borders[owner + 1], start + BUCKET)
            piece = line[: stop - start]
            if owner == rank:
                piece.copy_(own[start - borders[rank] : stop - borders[rank]])
            dist.broadcast(piece, owner)
            if whole is not None:
                whole[start:stop] = piece
    return whole


def all_gather(own: Tensor, ranks: int) -> Tensor:
    """Every rank's tensor of the same shape [...], as [ranks, ...]."""
    found = own.new_empty(ranks, *own.shape)
    ALL_GATHER(found.view(-1), own.flatten())
    return found


def _laid(line: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Where tensors [n] stand when they are laid end to end at the beginning of a line."""
    lengths = [len(tensor) for tensor in like]
    return list(line.split([*lengths, len(line) - sum(lengths)])[:-1])
