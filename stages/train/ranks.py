"""Several processes that train one stage, each with its share of every step, and get the bits that one process gets.

A rank owns an aligned block of the tree of `stages.train.reduce` and sums it alone; the upper levels are added here.
Every rank then holds the same gradients and makes the same update. Counts are integers, so their sum has no order.
A number of ranks that is no power of two cuts the leaves elsewhere: the sums then agree up to rounding only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from stages.errors import UserError
from stages.train.reduce import Gradients, block, combine
from stages.train.stopping import LostRankError

# A rank that dies closes its connections, which the others notice at once. This only has to outlast the longest thing
# that one rank does while the others wait: the evaluations.
PATIENCE = timedelta(days=2)
# x + (-0.0) is x for every x, zeros of either sign included; x + 0.0 turns -0.0 into 0.0.
NOTHING = -0.0

P = ParamSpec("P")
T = TypeVar("T")


def together(call: Callable[P, T]) -> Callable[P, T]:
    """What all ranks do at the same time; raises LostRankError where one of them is gone."""

    @wraps(call)
    def tried(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except RuntimeError as error:
            if "gloo" not in str(error):  # it says where in its own sources a connection broke
                raise
            raise LostRankError("another rank has ended or is out of reach; the log's last line says which.") from error

    return tried


class Ranks:
    """This process among those that train the stage. Every method but `share` must be called by all of them."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    @property
    def first(self) -> bool:
        """Whether this is the rank that evaluates and writes."""
        return self.rank == 0

    @property
    def exact(self) -> bool:
        """Whether the sums have the bits of one process: the tree can be cut into this many blocks."""
        return self.size & (self.size - 1) == 0

    def share(self, leaves: int) -> range:
        """Logical micro-batches of this rank, out of `leaves`."""
        if self.exact:
            return block(leaves, self.rank, self.size)
        return range(leaves * self.rank // self.size, leaves * (self.rank + 1) // self.size)

    @together
    def add_up(self, part: Gradients | None, like: Sequence[Tensor]) -> Gradients | None:
        """Sum of all ranks' parts along the tree, the same on each; `like` gives the shapes. Parts are handed over.

        Each rank adds up one slice of all gradients laid end to end and gives the result to the others, which moves
        as many bytes as an all-reduce does. What no rank touched stays None; None where no rank has a leaf.
        """
        if self.size == 1:
            return part
        mine: Gradients = [None] * len(like) if part is None else part
        touched = torch.tensor([tensor is not None for tensor in mine], dtype=torch.uint8)
        dist.all_reduce(touched, dist.ReduceOp.MAX)
        places = touched.nonzero().flatten().tolist()
        if not places:
            return None
        sizes = [like[i].numel() for i in places]
        width = -(-sum(sizes) // self.size)
        flat = torch.full((self.size * width,), NOTHING, dtype=like[0].dtype)
        for piece, i in zip(flat.split([*sizes, len(flat) - sum(sizes)]), places, strict=False):
            tensor = mine[i]
            if tensor is not None:
                piece.copy_(tensor.flatten())
        received = torch.empty_like(flat)
        dist.all_to_all_single(received, flat)
        slice_sum = combine([[row] for row in received.split(width)])
        if slice_sum is None or slice_sum[0] is None:
            raise AssertionError("a sum over ranks without ranks")
        dist.all_gather(list(flat.split(width)), slice_sum[0])
        total: Gradients = [None] * len(like)
        for piece, i in zip(flat.split([*sizes, len(flat) - sum(sizes)]), places, strict=False):
            total[i] = piece.view(like[i].shape).clone()  # memory of its own, aligned as a backward pass leaves it
        return total

    @together
    def count(self, counts: Tensor) -> Tensor:
        """Sum of integers [...] over the ranks."""
        if self.size > 1:
            counts = counts.clone()
            dist.all_reduce(counts)
        return counts

    @together
    def rows(self, blocks: Sequence[Tensor]) -> Tensor:
        """All ranks' blocks [n, D] below each other, in the order of the ranks: [N, D] on each."""
        if self.size == 1:
            return torch.cat(list(blocks))
        shape = torch.tensor([sum(len(part) for part in blocks), max((part.shape[1] for part in blocks), default=0)])
        shapes = _gathered(shape, self.size)
        heights, columns = shapes[:, 0].tolist(), int(shapes[:, 1].max())
        own = torch.zeros(max(heights), columns)
        if blocks:
            own[: heights[self.rank]] = torch.cat(list(blocks))
        gathered = _gathered(own, self.size)
        return torch.cat([part[:height] for part, height in zip(gathered, heights, strict=True)])

    @together
    def collect(self, owned: Mapping[int, Tensor], owners: Sequence[int], like: Sequence[Tensor]) -> list[Tensor]:
        """Tensors 0..n-1, shaped as `like`, each from the rank that `owners` names: all of them, on each rank."""
        if self.size == 1:
            return [owned[i] for i in range(len(like))]
        sizes = [tensor.numel() for tensor in like]
        totals = [sum(size for size, owner in zip(sizes, owners, strict=True) if owner == r) for r in range(self.size)]
        own = like[0].new_zeros(max(totals))
        own[: totals[self.rank]] = torch.cat([own[:0], *(owned[i].flatten() for i in sorted(owned))])
        gathered = _gathered(own, self.size)
        used, found = [0] * self.size, []
        for owner, tensor, size in zip(owners, like, sizes, strict=True):
            found.append(gathered[owner, used[owner] : used[owner] + size].view(tensor.shape))
            used[owner] += size
        return found

    def any(self, flag: bool) -> bool:
        """Whether any rank says so."""
        return bool(self.count(torch.tensor(int(flag)))) if self.size > 1 else flag

    @together
    def tell(self, text: str) -> str:
        """What the first rank says."""
        if self.size == 1:
            return text
        raw = torch.tensor(list(text.encode()), dtype=torch.uint8)
        length = torch.tensor(len(raw))
        dist.broadcast(length, 0)
        if not self.first:
            raw = torch.empty(int(length), dtype=torch.uint8)
        if int(length):
            dist.broadcast(raw, 0)
        return bytes(raw.tolist()).decode()

    @together
    def wait(self) -> None:
        """Return when every rank has come here."""
        if self.size > 1:
            dist.barrier()


def _gathered(own: Tensor, size: int) -> Tensor:
    """Every rank's tensor of the same shape [...], as [size, ...]."""
    found = own.new_empty(size, *own.shape)
    dist.all_gather(list(found), own)
    return found


ALONE = Ranks(0, 1)


@contextmanager
def joined(size: int) -> Iterator[Ranks]:
    """Meet the other ranks, as `torchrun` and this engine's launcher describe them in the environment.

    Raises UserError where their number is not `size`.
    """
    if size == 1:
        yield ALONE
        return
    rank, found = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if found != size:
        raise UserError(f"{found} ranks were started, the stage asks for {size} (execution: ranks): make them equal.")
    dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Ranks(rank, size)
    finally:
        dist.destroy_process_group()


def owners(costs: Sequence[float], ranks: int) -> list[int]:
    """Which rank computes which of several things: the dearest first, each by whom has the least to do so far."""
    loads, found = [0.0] * ranks, [0] * len(costs)
    for i in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        found[i] = loads.index(min(loads))
        loads[found[i]] += costs[i]
    return found
