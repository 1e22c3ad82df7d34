"""Sums of gradients along one fixed binary tree.

Floating-point addition is not associative, so the order of a sum is part of its value. A step's logical
micro-batches are the leaves 0..K-1 of a binary tree of the next power of two, read from the left; a node without a
right child is its left child. The tree depends on K alone, so any power-of-two number of ranks, each owning an
aligned block of leaves, computes the same bits as one process does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Gradients = list[Tensor | None]
"""One tensor per parameter, in a fixed order; None where a micro-batch did not touch the parameter."""


def merge(left: Gradients, right: Gradients) -> Gradients:
    """Return left + right, reusing left's memory. None is the neutral element: it adds nothing, not even a zero."""
    both = [i for i, (a, b) in enumerate(zip(left, right, strict=True)) if a is not None and b is not None]
    if both:
        torch._foreach_add_([left[i] for i in both], [right[i] for i in both])
    return [b if a is None else a for a, b in zip(left, right, strict=True)]


class TreeSum:
    """Adds leaves one by one like a binary counter: at most log2(K) + 1 partial sums are alive at a time."""

    def __init__(self) -> None:
        self._stack: list[tuple[int, Gradients]] = []  # (level, sum of 2**level leaves), levels falling

    def add(self, leaf: Gradients) -> None:
        """Append the next leaf. Its tensors become ours: they are overwritten."""
        level = 0
        while self._stack and self._stack[-1][0] == level:
            _, left = self._stack.pop()
            leaf = merge(left, leaf)
            level += 1
        self._stack.append((level, leaf))

    def result(self) -> Gradients | None:
        """Return the root, or None without leaves. Ends this sum: its tensors are handed over."""
        root: Gradients | None = None
        while self._stack:
            _, left = self._stack.pop()
            root = left if root is None else merge(left, root)
        return root


def block(leaves: int, rank: int, ranks: int) -> range:
    """Return the leaves that `rank` of `ranks` (a power of two) owns: an aligned block of the padded tree."""
    if ranks < 1 or ranks & (ranks - 1):
        raise ValueError(f"{ranks} ranks: the tree is cut into a power of two of blocks")
    width = max(1 << max(leaves - 1, 0).bit_length(), ranks) // ranks
    return range(min(rank * width, leaves), min((rank + 1) * width, leaves))


def combine(blocks: Sequence[Gradients | None]) -> Gradients | None:
    """Add the ranks' block sums along the upper levels of the tree; None is a rank without leaves."""
    total = TreeSum()
    for part in blocks:
        if part is not None:
            total.add(part)
    return total.result()
