"""A checksum of each tensor of a checkpoint that no layout changes: the sum of its elements' bits, each multiplied by a
number of its place in our tensor.

Core divides what it reads over ranks again. So what lies on the ranks after that, in the weights that move and in their
moments, is compared with what was there when the checkpoint was written. Two rows or columns that change places do not
have the same sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from stages.engines.nemo.handover import local_shapes
from stages.engines.nemo.layout import region
from stages.engines.nemo.local import WEIGHT, Owned
from stages.train.ranks import Ranks

WRAP = 1 << 48  # sums are exact in JSON, and in any order
WORD = (1 << 32) - 1


@torch.no_grad()
def sums(parameters: Sequence[Owned], ranks: Ranks) -> dict[str, int]:
    """By Megatron's name in the whole model and the kind, on every rank. All ranks call it."""
    own = [[one.placed.key, kind, one.part, one.start, one.stop, bits] for one, kind, bits in _of(parameters)]
    found: dict[str, int] = {}
    seen: set[tuple[str, str, int, int, int]] = set()
    for theirs in ranks.values(own):
        for key, kind, part, start, stop, bits in theirs:
            if (key, kind, part, start, stop) not in seen:  # copies of replicas count once
                seen.add((key, kind, part, start, stop))
                found[f"{key}.{kind}"] = (found.get(f"{key}.{kind}", 0) + bits) % WRAP
    return found


def _of(parameters: Sequence[Owned]) -> Iterator[tuple[Owned, str, int]]:
    for one in parameters:
        by_place = _by_place(one)
        for kind in (WEIGHT, *(one.moments if one.inner is not None else ())):
            yield one, kind, int((one.flat(kind).view(torch.int32) * by_place).sum(dtype=torch.int64)) % WRAP


def _by_place(one: Owned) -> Tensor:
    """Odd int32, flat, of the range that this rank has: a product of one number along each dimension of our tensors."""
    parts = []
    for number, local in enumerate(local_shapes(one.placed, one.tensor.shape)):
        part = torch.ones(local, dtype=torch.int32, device=one.main.device)
        for dim, place in enumerate(region(local, one.placed.rule.cut, one.part)):
            along = [-1 if other == dim else 1 for other in range(len(local))]
            part *= _mixed(place, 1 + dim + len(local) * number).to(part.device).view(along)
        parts.append(part)
    return one.placed.rule.form.join(parts).reshape(-1)[one.start : one.stop]


def _mixed(place: slice, salt: int) -> Tensor:
    """Odd int32 of whole numbers, each spread over all bits (the finaliser of MurmurHash3); products wrap."""
    x = (torch.arange(place.start, place.stop, device="cpu") + 1) * 0x9E3779B1 + salt * 0x632BE5AB & WORD
    x = ((x ^ x >> 16) * 0x85EBCA6B) & WORD
    x = ((x ^ x >> 13) * 0xC2B2AE35) & WORD
    return ((x ^ x >> 16) | 1).sub(1 << 31).to(torch.int32)


def different(found: Mapping[str, int], written: Mapping[str, int]) -> list[str]:
    """Names of tensors that both have and that are not the same. Tied embeddings have a second name in some layouts."""
    return sorted(name for name in found.keys() & written.keys() if found[name] != written[name])
