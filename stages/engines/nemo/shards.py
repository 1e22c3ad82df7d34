"""What a checkpoint contains, in Core's words for who has which part: weights, and what moves them.

The model's description is Core's own. The optimizer's is made from it: a main copy or a moment lies as its parameter
does. So it is the same for AdamW by torch, Apex or TransformerEngine and for Muon, and modules that have made different
numbers of updates keep theirs: Core's own description of an optimizer has one number for all, and with torch's AdamW
under the distributed optimizer what it writes cannot be read again (Core 0.19.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.dist_checkpointing.dict_utils import extract_matching_values, nested_values
from megatron.core.dist_checkpointing.mapping import ShardedBase, ShardedTensorFactory
from torch import Tensor

from stages.engines.nemo.causal import inner
from stages.engines.nemo.local import WEIGHT, Owned
from stages.train.collectives import NOTHING

MODEL, OPTIMIZER = "model", "optimizer"


def describe(chunks: Sequence[Any], owned: Sequence[Owned], loading: bool) -> dict[str, Any]:
    """Weights and buffers, live, and the optimizer's tensors, whole over the replicas; empty ones where they are to be
    read. All ranks make the same calls.
    """
    how = {"dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True)}
    model = {_name(number): inner(chunk).sharded_state_dict(metadata=how) for number, chunk in enumerate(chunks)}
    places = {id(one.data): one for one in _described(model)}
    optimizer = {}
    for one, kind in _kept(owned):
        place = places[id(one.tensor)]
        data = torch.empty(one.tensor.shape, device=one.main.device) if loading else _whole(one, kind)
        moved: dict[str, Any] = {"key": f"{OPTIMIZER}.{kind}.{place.key}", "data": data}
        if not isinstance(place, ShardedTensorFactory):
            moved["dtype"] = data.dtype
        optimizer[f"{one.placed.key}.{kind}"] = replace(place, **moved)
    return {**model, OPTIMIZER: optimizer}


@torch.no_grad()
def take(found: dict[str, Any], chunks: Sequence[Any], owned: Sequence[Owned], steps: dict[str, int]) -> None:
    """Fill the model and the optimizer with what was read; `steps` are the updates made so far, by module."""
    for number, chunk in enumerate(chunks):
        inner(chunk).load_state_dict(found[_name(number)])
    for one, kind in _kept(owned):
        one.take(kind, found[OPTIMIZER][f"{one.placed.key}.{kind}"].reshape(-1)[one.start : one.stop])
    for one in owned:
        if one.counts:
            one.count(steps[one.placed.module])


def _name(number: int) -> str:
    return f"{MODEL}{number}" if number else MODEL


def _described(model: dict[str, Any]) -> Iterator[Any]:
    found, _ = extract_matching_values(model, lambda one: isinstance(one, ShardedBase) and hasattr(one, "data"))
    yield from nested_values(found)


def _kept(owned: Sequence[Owned]) -> Iterator[tuple[Owned, str]]:
    """The optimizer's tensors: fp32 copies of rounded weights, and moments. The same on all replicas of a parameter."""
    seen: set[int] = set()
    for one in owned:
        if one.trained and id(one.tensor) not in seen:  # tied embeddings have two names
            seen.add(id(one.tensor))
            kinds = (WEIGHT,) if one.tensor.dtype != torch.float32 else ()
            yield from ((one, kind) for kind in (*kinds, *one.moments))


def _whole(one: Owned, kind: str) -> Tensor:
    """A main copy or moment with the shape of its parameter, from the ranges of it that the replicas have."""
    own = one.flat(kind)
    if not one.divided:
        return own.view(one.tensor.shape)
    whole = torch.full((one.tensor.numel(),), NOTHING, device=one.main.device)
    whole[one.start : one.stop] = own
    group = (
        parallel_state.get_expert_data_parallel_group()
        if one.placed.rule.by == "expert"
        else parallel_state.get_data_parallel_group(with_context_parallel=True)
    )
    dist.all_reduce(whole, group=group)
    return whole.view(one.tensor.shape)
