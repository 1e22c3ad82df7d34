"""Weights, gradients and moments from Megatron's ranks, under our names, bit for bit, one tensor at a time.

The first rank puts each tensor together from the ranks that have parts of it, and yields it to what writes it. Which
tensors there are is set as in `handover`, the way in. In the end the checksums of weights and moments by place (`sums`)
are compared with those of what the ranks have.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from stages.engines.nemo import sums
from stages.engines.nemo.handover import fits, local_shapes
from stages.engines.nemo.layout import Placed, Rules, region
from stages.engines.nemo.local import GRADIENT, WEIGHT, Owned, steps
from stages.engines.nemo.parts import Shapes
from stages.errors import UserError
from stages.models import tensor_file
from stages.printable import first_few
from stages.train.optimizer import STEP
from stages.train.ranks import Ranks

SHOWN = 3


class WrongCopyError(UserError):
    """What was put together is not what the ranks have."""


@dataclass(frozen=True)
class _Fragment:
    """A flat range of a part, and the rank that has it."""

    rank: int
    start: int
    stop: int


@dataclass
class _Source:
    """A part of a Megatron parameter, wherever it lies: `fragments` cover it once."""

    placed: Placed
    shape: tuple[int, ...]
    part: int
    parts: int
    fragments: list[_Fragment]


def updates(parameters: Sequence[Owned], ranks: Ranks) -> dict[str, int]:
    """Updates made so far by module, on every rank. Raises AssertionError where they are not the same everywhere."""
    found: dict[str, int] = {}
    for counts in ranks.values(steps(parameters)):
        for module, count in counts.items():
            if found.setdefault(module, count) != count:
                raise AssertionError(f"{module} has made {found[module]} updates on one rank, {count} on another")
    return found


class Gathering:
    """Tensors of all ranks, put together on the first. Built by all ranks at once; every method is called by all."""

    def __init__(self, parameters: Sequence[Owned], rules: Rules, ranks: Ranks) -> None:
        self._ranks = ranks
        self._own = {(one.placed.key, one.part): one for one in parameters}
        self._sources: dict[str, list[tuple[_Source, int]]] = {}
        found: dict[tuple[str, int], _Source] = {}
        own = [[o.placed.key, list(o.tensor.shape), o.part, o.parts, o.start, o.stop] for o in self._own.values()]
        for rank, theirs in enumerate(ranks.values(own)):
            for key, shape, part, parts, start, stop in theirs:
                placed = rules.place(key)
                if placed is None:
                    raise AssertionError(f"rank {rank} has {key}, for which there is no rule")
                source = found.setdefault((key, part), _Source(placed, tuple(shape), part, parts, []))
                source.fragments.append(_Fragment(rank, start, stop))
        for source in found.values():
            source.fragments = _cover(source)
            for i, target in enumerate(source.placed.targets):
                self._sources.setdefault(target, []).append((source, i))

    def weights(self, shapes: Shapes) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of the model, in the order of a file, for the first rank; for the others, nothing.

        All ranks must come to the end. Raises ValueError where Megatron's parameters do not make exactly these, and at
        the end WrongCopyError, on all ranks.
        """
        extra = sorted(self._sources.keys() - shapes.keys())
        if extra:
            raise ValueError(f"Megatron's parameters make {', '.join(extra[:3])}, which the model does not have")
        made = _Made(self._own.values(), {WEIGHT}, self._ranks)
        for name in tensor_file.order(shapes):
            whole = self.one(name, WEIGHT, shapes[name])
            made.add(self._sources[name], WEIGHT, whole)
            yield from self._named(name, whole)
        made.check()

    def gradients(self, shapes: Shapes) -> Iterator[tuple[str, Tensor]]:
        """The same of the gradients of these tensors, once the backward pass of a step is finished."""
        for name in tensor_file.order(shapes):
            yield from self._named(name, self.one(name, GRADIENT, shapes[name]))

    def state(self, shapes: Shapes) -> Iterator[tuple[str, Tensor]]:
        """The same of the optimizer: "<module>.<parameter>.<moment>" and "<module>.step", as the torch engine's."""
        steps, kinds = updates(list(self._own.values()), self._ranks), {name.rpartition(".")[2] for name in shapes}
        made = _Made(self._own.values(), kinds, self._ranks)
        for name in tensor_file.order(shapes):
            ours, _, kind = name.rpartition(".")
            if kind == STEP:
                yield from self._named(name, torch.tensor(steps[ours]) if self._ranks.first else None)
            else:
                whole = self.one(ours, kind, shapes[name])
                made.add(self._sources[ours], kind, whole)
                yield from self._named(name, whole)
        made.check()

    @staticmethod
    def _named(name: str, tensor: Tensor | None) -> Iterator[tuple[str, Tensor]]:
        if tensor is not None:
            yield name, tensor

    def one(self, ours: str, kind: str, like: Tensor) -> Tensor | None:
        """A weight, gradient or moment of ours by its name, whole on the first rank."""
        sources = self._sources.get(ours)
        if not sources:
            raise ValueError(f"no parameter of Megatron's makes {ours}")
        first = self._ranks.first
        whole = torch.empty(like.shape, dtype=like.dtype, device=self._ranks.device) if first else None
        filled = 0
        for source, i in sources:
            local = local_shapes(source.placed, source.shape)[i]
            fits(source.placed, ours, local, source.parts, {ours: like})
            if filled >= like.numel():  # a second name for the same tensor: tied embeddings
                break
            filled += torch.Size(local).numel()
            fused = self._fused(source, kind)
            if whole is not None and fused is not None:
                place = region(local, source.placed.rule.cut, source.part)
                whole[place] = source.placed.rule.form.split(fused)[i].to(whole.dtype)
        if filled != like.numel():
            raise ValueError(f"Megatron's parameters make {filled} of {like.numel()} elements of {ours}")
        return whole

    def _fused(self, source: _Source, kind: str) -> Tensor | None:
        """A part of Megatron's own parameter on the first rank; the ranks that have it send their ranges."""
        size, device = torch.Size(source.shape).numel(), self._ranks.device
        flat = torch.empty(size, device=device) if self._ranks.first else None
        for fragment in source.fragments:
            mine = fragment.rank == self._ranks.rank
            sent = self._own[source.placed.key, source.part].flat(kind) if mine else None
            if flat is not None:
                place = flat[fragment.start : fragment.stop]
                if sent is None:
                    _exchange(dist.irecv, place, fragment.rank)
                else:
                    place.copy_(sent)
            elif sent is not None:
                _exchange(dist.isend, sent.contiguous(), 0)
        return None if flat is None else flat.view(source.shape)


class _Made:
    """Checksums of what the first rank put together, and of what all have. Built and checked by all ranks."""

    def __init__(self, parameters: Iterable[Owned], kinds: Collection[str], ranks: Ranks) -> None:
        self._ranks, self._there = ranks, sums.sums([*parameters], ranks, kinds)
        self._made: dict[str, int] = {}

    def add(self, sources: Sequence[tuple[_Source, int]], kind: str, whole: Tensor | None) -> None:
        """Count a whole tensor of ours for every parameter of Megatron's that has it; None: of another rank."""
        if whole is None:
            return
        for key, number in {(source.placed.key, number) for source, number in sources}:
            name = f"{key}.{kind}"
            self._made[name] = (self._made.get(name, 0) + sums.of_ours(whole, number)) % sums.WRAP

    def check(self) -> None:
        """Raise WrongCopyError, on all ranks, where sums differ."""
        wrong = sorted(name for name, found in self._made.items() if found != self._there.get(name))
        if wrong := self._ranks.values(wrong)[0]:
            raise WrongCopyError(
                f"what the first rank has put together of {first_few(wrong, SHOWN)} is not what the ranks have. "
                "Nothing was saved of it. Give the same command again; where it ends so again, run with the versions "
                "that `make nemo` installs, without plugins."
            )


def _exchange(how: Callable[..., Any], tensor: Tensor, peer: int) -> None:
    """Over the communicator that all ranks share. Under NCCL plain `send` and `recv` make another of each two ranks,
    which the first rank would have by the hundred, each with memory of its own on the GPU.
    """
    for request in dist.batch_isend_irecv([dist.P2POp(how, tensor, peer)]):
        request.wait()


def _cover(source: _Source) -> list[_Fragment]:
    """Fragments that cover a part once, each from the lowest rank that has it."""
    size, place = torch.Size(source.shape).numel(), 0
    chosen = []
    by_start: dict[int, _Fragment] = {}
    for fragment in sorted(source.fragments, key=lambda one: (one.start, -one.stop, one.rank)):
        if fragment.stop > fragment.start:
            by_start.setdefault(fragment.start, fragment)
    while place < size:
        if place not in by_start:
            raise ValueError(f"no rank has {source.placed.key} from element {place} of {size} on")
        chosen.append(by_start[place])
        place = by_start[place].stop
    return chosen
