"""A checksum of each tensor that no layout changes: the sum of its elements' bits, each multiplied by a number of its
place in our tensor.

Core divides a checkpoint that it reads over ranks again. So what lies on the ranks after that, in the weights that move
and in their moments, is compared with what was there when the checkpoint was written; and what is put together from the
ranks, for a file under our names, with what lies on them. Two rows or columns that change places do not have the same
sum.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from stages.engines.nemo.handover import local_shapes
from stages.engines.nemo.layout import region
from stages.engines.nemo.local import WEIGHT, Owned
from stages.train.ranks import Ranks

WRAP = 1 << 48  # sums are exact in JSON, and in any order
WORD = (1 << 32) - 1
AT_ONCE = 1 << 24  # elements of ours whose numbers are in memory


@torch.no_grad()
def sums(parameters: Sequence[Owned], ranks: Ranks, kinds: Collection[str] | None = None) -> dict[str, int]:
    """By Megatron's name in the whole model and the kind, on every rank; of all kinds or these. All ranks call it."""
    own = [[one.placed.key, kind, one.part, one.start, one.stop, bits] for one, kind, bits in _of(parameters, kinds)]
    found: dict[str, int] = {}
    seen: set[tuple[str, str, int, int, int]] = set()
    for theirs in ranks.values(own):
        for key, kind, part, start, stop, bits in theirs:
            if (key, kind, part, start, stop) not in seen:  # copies of replicas count once
                seen.add((key, kind, part, start, stop))
                found[f"{key}.{kind}"] = (found.get(f"{key}.{kind}", 0) + bits) % WRAP
    return found


@torch.no_grad()
def of_ours(tensor: Tensor, number: int) -> int:
    """What a whole tensor of ours, the one with this number of a parameter of Megatron's, adds to the latter's sum."""
    rows, total = max(1, AT_ONCE // tensor[0].numel()), 0
    for first in range(0, len(tensor), rows):
        some = tensor[first : first + rows].float().contiguous().view(torch.int32)
        places = [slice(first, first + len(some)), *(slice(0, size) for size in tensor.shape[1:])]
        total += _sum(some, _numbers(places, number, tensor.device))
    return total % WRAP


def _sum(bits: Tensor, by_place: Tensor) -> int:
    return int((bits * by_place).sum(dtype=torch.int64))


def _of(parameters: Sequence[Owned], kinds: Collection[str] | None) -> Iterator[tuple[Owned, str, int]]:
    for one in parameters:
        there = (WEIGHT, *(one.moments if one.inner is not None else ()))
        if wanted := [kind for kind in there if kinds is None or kind in kinds]:
            by_place = _by_place(one)
            for kind in wanted:
                yield one, kind, _sum(one.flat(kind).view(torch.int32), by_place) % WRAP


def _by_place(one: Owned) -> Tensor:
    """Odd int32, flat, of the range that this rank has: a product of one number along each dimension of our tensors."""
    parts = [
        _numbers(region(local, one.placed.rule.cut, one.part), number, one.main.device)
        for number, local in enumerate(local_shapes(one.placed, one.tensor.shape))
    ]
    return one.placed.rule.form.join(parts).reshape(-1)[one.start : one.stop]


def _numbers(places: Sequence[slice], number: int, device: torch.device) -> Tensor:
    """Odd int32 of these places in the tensor of ours with this number of a parameter's."""
    found = torch.ones([place.stop - place.start for place in places], dtype=torch.int32, device=device)
    for dim, place in enumerate(places):
        along = [-1 if other == dim else 1 for other in range(len(places))]
        found *= _mixed(place, 1 + dim + len(places) * number).to(device).view(along)
    return found


def _mixed(place: slice, salt: int) -> Tensor:
    """Odd int32 of whole numbers, each spread over all bits (the finaliser of MurmurHash3); products wrap."""
    x = (torch.arange(place.start, place.stop, device="cpu") + 1) * 0x9E3779B1 + salt * 0x632BE5AB & WORD
    x = ((x ^ x >> 16) * 0x85EBCA6B) & WORD
    x = ((x ^ x >> 13) * 0xC2B2AE35) & WORD
    return ((x ^ x >> 16) | 1).sub(1 << 31).to(torch.int32)


def different(found: Mapping[str, int], written: Mapping[str, int]) -> list[str]:
    """Names of tensors that both have and that are not the same. Tied embeddings have a second name in some layouts."""
    return sorted(name for name in found.keys() & written.keys() if found[name] != written[name])
