"""Into which calls attention is divided, so that FlashAttention's deterministic backward pass keeps a GPU busy.

Under deterministic algorithms that kernel gives every head of every row ceil(M / n) thread blocks, for M
multiprocessors and n heads in all rows; each block sums the queries' gradients apart and takes every ceil(M / n)-th
block of 128 keys; one block of threads fills a multiprocessor (torch's flash_api.cpp, flash_bwd_launch_template.h). So
48 heads on 132 multiprocessors are 144 blocks: 132, and then 12 alone; in calls of 44 and 4 heads they are twice 132,
and take three quarters of the time. And a long document next to many short ones has one block a head, which works while
all others have ended: 32,768 positions and 22 documents of 1,500, 12 heads, took 169 ms together and 23 ms in two calls
(an H200, results/records/gpu.md says with what).

Dividing changes no bit of the output and no gradient but the queries', whose sums are divided in another way. It is a
function of shapes, documents and the GPU, so the same run has the same bits again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

KEYS = 128  # of a block
PATIENCE = 1.5  # times its share of the work: what a document's busiest block may have compared with others


@dataclass(frozen=True)
class Call:
    """Rows and key heads that are attended together."""

    rows: int
    heads: int


@cache
def best(rows: int, length: int, groups: int, share: int, processors: int) -> Call:
    """The division of `rows` rows of `length` positions with `groups` key heads, each read by `share` query heads.

    The fastest by `time`; of equally fast ones that with the fewest calls.
    """
    blocks = -(-length // KEYS)
    found = [Call(number, heads) for number in {rows, 1} for heads in range(1, groups + 1)]

    def cost(call: Call) -> tuple[float, int]:
        sizes = [a * b * share for a in parts(rows, call.rows) for b in parts(groups, call.heads)]
        return sum(time(size, blocks, processors) for size in sizes), len(sizes)

    return min(found, key=cost)


def time(heads: int, blocks: int, processors: int) -> float:
    """Time of one call, in units of a whole head's on one multiprocessor: its waves, times its busiest block's share.

    With causal attention the first keys are read by all queries, so of `blocks` blocks of keys the first weighs most.
    """
    divided = -(-processors // heads)
    waves = -(-heads * divided // processors)
    busiest = sum(blocks - key for key in range(0, blocks, divided))
    return waves * busiest / _work(blocks)


def parts(whole: int, size: int) -> list[int]:
    """`whole` in parts of `size`, the last of what remains."""
    return [min(size, whole - first) for first in range(0, whole, size)]


def runs(lengths: Sequence[int], heads: int, processors: int) -> Iterator[tuple[int, int]]:
    """Documents [first, last) that are attended together: neighbours, except those that others would wait for."""
    blocks = [-(-length // KEYS) for length in lengths]
    divided = -(-processors // (heads * len(lengths)))
    share = heads * sum(map(_work, blocks)) / processors
    alone = [max(_work(number) / divided, number) > PATIENCE * share for number in blocks]
    first = 0
    for number, own in enumerate(alone):
        if own:
            if first < number:
                yield first, number
            yield number, number + 1
            first = number + 1
    if first < len(lengths):
        yield first, len(lengths)


def _work(blocks: int) -> float:
    return blocks * (blocks + 1) / 2
