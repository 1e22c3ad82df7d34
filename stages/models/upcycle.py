"""Depth upcycling: a deeper child starts from copies of its parent's layers, every parameter accounted for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from stages.errors import UserError

_LAYER = re.compile(r"(?P<head>(?:.*\.)?layers)\.(?P<layer>\d+)\.(?P<tail>.*)")


def source_names(children: Iterable[str], layer_map: tuple[int, ...]) -> dict[str, str]:
    """For each child parameter name the parent's: layer i becomes layer_map[i], names outside layers stay.

    It applies to whatever is kept by parameter name, optimizer moments (`<parameter>.<moment>`) included.
    Raises UserError for a layer that the map does not cover.
    """
    sources = {}
    for name in children:
        match = _LAYER.fullmatch(name)
        if match is None:
            sources[name] = name
            continue
        layer = int(match["layer"])
        if layer >= len(layer_map):
            raise UserError(f"upcycle: {name} is outside the layer map of {len(layer_map)} layers")
        sources[name] = f"{match['head']}.{layer_map[layer]}.{match['tail']}"
    return sources


def upcycle(
    parent: Mapping[str, Tensor], child: Mapping[str, torch.Size], layer_map: tuple[int, ...]
) -> dict[str, Tensor]:
    """The child's tensors, as copies of the parent's.

    `child` gives names and shapes of all of the child's state (arXiv 2510.25741, section 4.3.1, for Ouro's 24 -> 48).
    Raises UserError if the child has a tensor that the parent has none for, or in another shape, so that nothing in a
    child is ever left as it was initialised without being named.
    """
    sources = source_names(child, layer_map)
    absent = [f"{name} (from {source})" for name, source in sources.items() if source not in parent]
    if absent:
        raise UserError(f"upcycle: the parent has nothing for {', '.join(absent)}")
    wrong = [
        f"{name} {list(shape)} from {list(parent[sources[name]].shape)}"
        for name, shape in child.items()
        if parent[sources[name]].shape != shape
    ]
    if wrong:
        raise UserError(f"upcycle: shapes differ: {', '.join(wrong)}. Only the number of layers may change.")
    return {name: parent[source].clone() for name, source in sources.items()}
