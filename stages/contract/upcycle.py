"""Depth upcycling: which parent layer each child layer starts as a copy of."""

from __future__ import annotations

from typing import Literal, assert_never

How = Literal["concatenate", "interleave"]


def layer_map(parent_layers: int, child_layers: int, how: How) -> tuple[int, ...]:
    """Child layer i starts as parent layer `layer_map[i]`.

    "concatenate" repeats the whole stack (0..n-1, 0..n-1): for a looped model whose loops are divided by the same
    ratio it repeats the same computation. "interleave" repeats each layer in place (0, 0, 1, 1, ...). Ouro (arXiv
    2510.25741, section 4.3.1) duplicates layers 24 -> 48 and does not say in which order.
    Raises ValueError unless the child's depth is a multiple of the parent's.
    """
    if parent_layers <= 0 or child_layers <= 0 or child_layers % parent_layers:
        raise ValueError(f"{child_layers} layers are not a whole number of copies of {parent_layers}")
    copies = child_layers // parent_layers
    match how:
        case "concatenate":
            return tuple(layer % parent_layers for layer in range(child_layers))
        case "interleave":
            return tuple(layer // copies for layer in range(child_layers))
        case _:
            assert_never(how)


def block_calls(layers: int, loops: int) -> int:
    """Blocks a token passes through: layers x loops (24 x 8 = 48 x 4 for Ouro's two branches)."""
    return layers * loops
