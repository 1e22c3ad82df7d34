"""A checksum of each tensor of a checkpoint that no layout changes: the sum of its elements' bits as whole numbers.

Core divides what it reads over ranks again. So what lies on the ranks after that, in the weights that move and in their
moments, is compared with what was there when the checkpoint was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from stages.engines.nemo.local import WEIGHT, Owned
from stages.train.ranks import Ranks

WRAP = 1 << 48  # sums are exact in JSON, and in any order


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
        for kind in (WEIGHT, *(one.moments if one.inner is not None else ())):
            yield one, kind, int(one.flat(kind).view(torch.int32).sum(dtype=torch.int64)) % WRAP


def different(found: Mapping[str, int], written: Mapping[str, int]) -> list[str]:
    """Names of tensors that both have and that are not the same. Tied embeddings have a second name in some layouts."""
    return sorted(name for name in found.keys() & written.keys() if found[name] != written[name])
