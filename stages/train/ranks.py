"""Several processes that train one stage, each with its share of every step, and get the bits that one process gets.

A rank owns an aligned block of the tree of `stages.train.reduce` and sums it alone; the upper levels are added here.
Every rank then has the same gradients and makes the same update. Counts are integers, so their sum has no order.
A number of ranks that is no power of two cuts the leaves elsewhere: the sums then agree up to rounding only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from stages.errors import UserError, of_machine
from stages.train import collectives, meeting
from stages.train.collectives import all_gather
from stages.train.reduce import Gradients, block
from stages.train.shards import Borders
from stages.train.stopping import LostRankError, StoppedError

CPU = torch.device("cpu")
GLOO: Literal["gloo"] = "gloo"  # what is exchanged goes over the host
NCCL: Literal["cpu:gloo,cuda:nccl"] = "cpu:gloo,cuda:nccl"  # tensors of a GPU go from GPU to GPU
Backend = Literal["gloo", "cpu:gloo,cuda:nccl"]

P = ParamSpec("P")
T = TypeVar("T")


def together(call: Callable[P, T]) -> Callable[P, T]:
    """What all ranks do at the same time; raises LostRankError where one of them is gone."""

    @wraps(call)
    def tried(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except RuntimeError as error:
            ours = isinstance(error, (dist.DistBackendError, dist.DistNetworkError))
            if not ours and "gloo" not in str(error):  # gloo says where in its own sources a connection broke
                raise
            if of_machine(error) is not None:  # what this rank's GPU refuses NCCL
                raise
            reason = f" ({_reason(str(error))})" if ours else ""
            raise LostRankError(
                f"another rank has ended or is out of reach{reason}; the log's last line says which."
            ) from error

    return tried


def _reason(text: str) -> str:
    """The first line of an error, and what NCCL adds at its end of what it met."""
    first, last = text.strip().partition("\n")[0], text.partition("Last error:")[2].strip()
    return f"{first}; {last}" if last else first


class Ranks:
    """This process among those that train the stage. Every method but `share` must be called by all of them.

    `device` is where this rank computes. Tensors are exchanged from there under NCCL, from the host's memory under
    gloo. What is sent in numbers and texts always goes over the host, so a rank that is gone is noticed there.
    """

    def __init__(self, rank: int, size: int, device: torch.device = CPU, backend: Backend = GLOO) -> None:
        self.rank, self.size, self.device = rank, size, device
        self.backend: Backend | None = backend if size > 1 else None
        self._wire = device if backend == NCCL else CPU

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
    def all_reduce(self, part: Gradients | None, like: Sequence[Tensor]) -> Gradients | None:
        """Sum of all ranks' parts along the tree, the same on each; `like` gives the shapes. Parts are handed over.

        What no rank touched stays None; None where no rank has a leaf. Besides the parts themselves, this takes the
        memory of two buckets.
        """
        if self.size == 1:
            return part
        mine: Gradients = [None] * len(like) if part is None else part
        touched = torch.tensor([tensor is not None for tensor in mine], dtype=torch.uint8)
        dist.all_reduce(touched, dist.ReduceOp.MAX)
        places = touched.nonzero().flatten().tolist()
        if not places:
            return None
        total: Gradients = [None] * len(like)
        for i in places:
            tensor = mine[i]
            total[i] = _untouched(like[i]) if tensor is None else tensor.contiguous()
        collectives.all_reduce([tensor.view(-1) for tensor in total if tensor is not None], self.size, self._wire)
        return total

    @together
    def all_gather_parts(self, tensors: Sequence[Tensor], borders: Sequence[Borders]) -> None:
        """Give every rank what the others own of contiguous tensors, in place."""
        if self.size > 1:
            collectives.all_gather_parts(
                [tensor.view(-1) for tensor in tensors], borders, self.rank, self.size, self._wire
            )

    @together
    def gather_parts(self, own: Tensor, borders: Borders) -> Tensor | None:
        """A tensor [n] of which every rank has the range that it owns: whole on the first rank, None on the others.

        They meet on the host first: the others neither run ahead of what the first writes, nor wait for it inside NCCL.
        """
        self.barrier()
        return (
            own if self.size == 1 else collectives.gather_parts(own.view(-1), borders, self.rank, self.size, self._wire)
        )

    @together
    def count(self, counts: Tensor) -> Tensor:
        """Sum of integers [...] over the ranks."""
        if self.size == 1:
            return counts
        total = counts.to(self._wire, copy=True)
        dist.all_reduce(total)
        return total.to(counts.device)

    @together
    def rows(self, blocks: Sequence[Tensor]) -> Tensor:
        """All ranks' fp32 blocks [n, D] below each other, in the order of the ranks: [N, D] on each."""
        if self.size == 1:
            return torch.cat(list(blocks))
        shape = torch.tensor([sum(len(part) for part in blocks), max((part.shape[1] for part in blocks), default=0)])
        shapes = all_gather(shape, self.size)
        heights, columns = shapes[:, 0].tolist(), int(shapes[:, 1].max())
        own = torch.zeros(max(heights), columns, device=self._wire)
        if blocks:
            own[: heights[self.rank]] = torch.cat(list(blocks))
        found = all_gather(own, self.size)
        return torch.cat([part[:height] for part, height in zip(found, heights, strict=True)]).to(self.device)

    @together
    def each(self, numbers: Sequence[float]) -> list[list[float]]:
        """The numbers that every rank names, as many each, in the order of the ranks; on each of them."""
        own = torch.tensor(list(numbers), dtype=torch.float64)
        rows: list[list[float]] = (all_gather(own, self.size) if self.size > 1 else own[None]).tolist()
        return rows

    def any(self, flag: bool) -> bool:
        """Whether any rank says so."""
        return any(row[0] for row in self.each([float(flag)])) if self.size > 1 else flag

    @together
    def texts(self, text: str) -> list[str]:
        """What every rank says, in the order of the ranks; on each of them."""
        if self.size == 1:
            return [text]
        raw = text.encode()
        lengths = all_gather(torch.tensor(len(raw)), self.size).tolist()
        padded = torch.tensor(list(raw.ljust(max(*lengths, 1), b" ")), dtype=torch.uint8)
        rows = all_gather(padded, self.size).tolist()
        return [bytes(row[:length]).decode() for row, length in zip(rows, lengths, strict=True)]

    def values(self, value: Any) -> list[Any]:
        """What every rank says, as JSON can represent it, in the order of the ranks; on each of them."""
        return [json.loads(text) for text in self.texts(json.dumps(value, allow_nan=False))]

    def broadcast(self, text: str) -> str:
        """What the first rank says."""
        return self.texts(text if self.first else "")[0]

    def barrier(self) -> None:
        """Return when every rank has come here. Over the host: a barrier of NCCL's would have to know the GPU."""
        self.any(False)


def _untouched(like: Tensor) -> Tensor:
    return torch.full(like.shape, collectives.NOTHING, dtype=like.dtype, device=like.device)


ALONE = Ranks(0, 1)


@contextmanager
def joined(size: int, device: torch.device = CPU, backend: Backend = GLOO) -> Iterator[Ranks]:
    """Meet the other ranks, as `torchrun` and this engine's launcher describe them in the environment.

    `device` is this rank's. Raises UserError where their number is not `size`, and as `meeting.meet`.
    """
    if size == 1:
        yield Ranks(0, 1, device)
        return
    rank, found = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if found != size:
        raise UserError(f"{found} ranks were started, the stage asks for {size} (execution: ranks): make them equal.")
    meeting.meet(backend)
    agreed = False
    try:
        yield (ranks := Ranks(rank, size, device, backend))
        if backend == NCCL:  # its end waits for all ranks, for as long as the first evaluates, and hears of no failure
            ranks.barrier()
        agreed = True
    except StoppedError:
        agreed = True
        raise
    finally:
        if agreed or backend == GLOO:  # after an error of this rank alone, NCCL may wait for ranks that wait for it
            dist.destroy_process_group()
