"""Which of its parent's layers a deeper model is made of: whole stacks, each layer repeated, or written out.

Written out, `0-23 + 8-31` is layers 0 to 23, then 8 to 31, of the parent.

Depth up-scaling of SOLAR (arXiv 2312.15166, section 2) is 32 layers as `0-23 + 8-31`.
"""

from __future__ import annotations

import re

RANGES = r"[0-9]+(-[0-9]+)?( *\+ *[0-9]+(-[0-9]+)?)*"
ALLOWED = "concatenate, interleave, or layers such as 0-23 + 8-31"
EXPERTS = "experts"  # no layers more: each feed-forward part becomes experts (stages/spec/layer_maps.py)
MOST = 10_000  # layers, as of any model


def whole_stacks(how: str, parent: int, child: int) -> tuple[int, ...]:
    """The parent's layer of each layer of the child; both are given as numbers of layers.

    "concatenate" repeats the whole stack (0..n-1, 0..n-1): for a looped model whose loops are divided by the same
    ratio it repeats the same computation. "interleave" repeats each layer in place (0, 0, 1, 1, ...). Ouro (arXiv
    2510.25741, section 4.3.1) duplicates layers 24 -> 48 and does not say in which order.
    Raises ValueError unless the child's depth is a multiple of the parent's.
    """
    if parent <= 0 or child <= 0 or child % parent:
        raise ValueError(f"{child} layers are not a whole number of copies of {parent}")
    match how:
        case "concatenate":
            return tuple(layer % parent for layer in range(child))
        case "interleave":
            return tuple(layer * parent // child for layer in range(child))
        case _:
            raise ValueError(f"no way of copying layers is called {how!r}")


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
