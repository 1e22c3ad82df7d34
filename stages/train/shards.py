"""How the state of an optimizer is divided over ranks (ZeRO stage 1, Rajbhandari et al. 2020, arXiv 1910.02054).

Every rank has whole parameters and whole gradients. Of each parameter, laid flat, it owns one range: it keeps the
moments of that range alone, updates it, and gives it to the others. The ranges follow from shapes and the number of
ranks, so no rank has to ask another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Borders = tuple[int, ...]
"""Of one tensor laid flat: rank r owns the elements from borders[r] up to borders[r + 1]."""

# CPU kernels take the end of a tensor, less than two vectors, in a loop of its own, which may round otherwise. Borders
# at multiples of this many elements (two vectors of 512 bits have 32) leave that end what it is in the whole tensor.
ALIGNED = 64


def evenly(sizes: Sequence[int], ranks: int) -> list[Borders]:
    """Tensors of these numbers of elements, laid end to end and cut into parts of equal length, up to ALIGNED."""
    total, before, found = sum(sizes), 0, []
    for size in sizes:
        found.append((0, *(_border(total * rank // ranks - before, size) for rank in range(1, ranks)), size))
        before += size
    return found


def _border(place: int, size: int) -> int:
    """The border of a tensor that is nearest to a place of the line, counted from the tensor's beginning."""
    return size if place >= size else max(0, min(size, (place + ALIGNED // 2) // ALIGNED * ALIGNED))


def whole(sizes: Sequence[int], owners: Sequence[int], ranks: int) -> list[Borders]:
    """Each tensor with all its elements at one rank."""
    return [(0,) * (owner + 1) + (size,) * (ranks - owner) for size, owner in zip(sizes, owners, strict=True)]


def owners(costs: Sequence[float], ranks: int) -> list[int]:
    """Which rank computes which of several things: the dearest first, each by whom has the least to do so far."""
    loads, found = [0.0] * ranks, [0] * len(costs)
    for i in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        found[i] = loads.index(min(loads))
        loads[found[i]] += costs[i]
    return found


def buckets(sizes: Sequence[int], width: int) -> Iterator[list[tuple[int, int, int]]]:
    """Tensors laid end to end, `width` elements at a time: (number of the tensor, from, to) of each piece."""
    bucket: list[tuple[int, int, int]] = []
    left = width
    for i, size in enumerate(sizes):
        start = 0
        while start < size:
            stop = min(size, start + left)
            bucket.append((i, start, stop))
            left -= stop - start
            start = stop
            if not left:
                yield bucket
                bucket, left = [], width
    if bucket:
        yield bucket
