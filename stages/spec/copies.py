"""Which layers a deeper model is made of, written out: `0-23 + 8-31` is layers 0 to 23, then 8 to 31, of the parent.

Depth up-scaling of SOLAR (arXiv 2312.15166, section 2) is 32 layers as `0-23 + 8-31`.
"""

from __future__ import annotations

import re

RANGES = r"[0-9]+(-[0-9]+)?( *\+ *[0-9]+(-[0-9]+)?)*"
ALLOWED = "concatenate, interleave, or layers such as 0-23 + 8-31"
EXPERTS = "experts"  # no layers more: each feed-forward part becomes experts (stages/spec/routed.py)
MOST = 10_000  # layers, as of any model


def is_written(how: str) -> bool:
    """Whether layers are named one by one or in ranges."""
    return re.fullmatch(RANGES, how) is not None


def read(how: str) -> tuple[int, ...]:
    """The parent's layer of each layer of the child. Raises ValueError for a range that ends before it begins."""
    found: list[int] = []
    for part in how.split("+"):
        first, _, last = part.strip().partition("-")
        begin, end = int(first), int(last or first)
        if end < begin or end >= MOST:
            raise ValueError(f"layers {begin} to {end}")
        found += range(begin, end + 1)
    return tuple(found)


def shrunk(written: tuple[int, ...], parent: int, child: int) -> tuple[int, ...]:
    """The same at a scale whose models have `parent` and `child` layers: as far down in both, in proportion."""
    above, below = max(written) + 1, len(written)
    return tuple(written[layer * below // child] * parent // above for layer in range(child))
