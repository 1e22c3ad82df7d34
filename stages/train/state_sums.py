"""Checksums of what a step computes with: its rows, the state before its update, and its gradients before the clip.

Taken after the backward passes. Every rank sums what it owns, so any number of ranks comes to the same words, and no
byte is read twice. The optimizer's counts of steps stand as they are. `stages replay` compares all: the first that
differs, in the order of a step, is where a fault was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from blake3 import blake3
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.contract.ledger import Step
from stages.train.checksum import Piece, Rest, of_pieces, on_gpu, pieces, signed, unsigned
from stages.train.metrics import GRADIENT, ROWS
from stages.train.optimizer import Optimizer
from stages.train.ranks import ALONE, Ranks
from stages.train.shards import evenly

if TYPE_CHECKING:
    from stages.data.loading.sample import PairRow, Sample
    from stages.guards.phase_log import Rows

Part = tuple[str, Tensor, int]  # of the tensor of this name, what begins with its element of this number

# Steps of a phase between two checksums. On a CPU all of a state is summed in less than a hundredth of a step. What it
# costs on a GPU was never measured; a tenth of it is a tenth.
EVERY = {"cpu": 1, "cuda": 10}


class StateSums:
    """Takes the checksums of a phase's steps. `rows` is what the objective has to read its rows through."""

    def __init__(self, modules: nn.ModuleDict, optimizer: Optimizer, rows: Rows, ranks: Ranks = ALONE) -> None:
        self._optimizer, self._ranks = optimizer, ranks
        self._others = Others(modules, optimizer, ranks)
        self.rows = rows if isinstance(rows, Digests) else Digests(rows)
        self._found: dict[str, str] = {}
        # Of a CPU: the memory that the optimizer moves, which stays where it is.
        self._own = [*map(_pieces, optimizer.owned())] if ranks.device.type == "cpu" else []

    def take(self, step: Step, gradients: Sequence[Tensor]) -> None:
        """Sum up where the step's number asks for it; all ranks call this, with the step's whole gradients."""
        rows = self.rows.of(step)
        self._found = {}
        if step.index % EVERY[self._ranks.device.type]:
            return
        names, words = self._summed([*self._others.parts()], [*self._optimizer.owned_gradients(gradients)])
        counts = {name: f"{count:016x}" for name, count in self._optimizer.counts().items()}
        summed = {name: f"{word:016x}" for name, word in zip(names, words, strict=True)}
        self._found = {ROWS: rows, **counts, **summed}

    def _summed(self, before: Sequence[Part], after: Sequence[Part]) -> tuple[Iterator[str], list[int]]:
        """Names and checksums of what is not the optimizer's, of what is, and of gradients, over all ranks."""
        names = (name for name, *_ in (*before, *self._optimizer.owned(), *after))
        if self._ranks.device.type == "cpu":
            found = [*map(_pieces, before), *self._own, *map(_pieces, after)]
            words = [of_pieces(rows, rest) for rows, rest in found]
            if self._ranks.size == 1:
                return names, words
            own = signed(words)
        else:
            parts = (*before, *self._optimizer.owned(), *after)
            own = torch.stack([on_gpu(part, start) for _, part, start in parts])
        return names, [unsigned(word) for word in self._ranks.count(own).tolist()]

    def found(self) -> dict[str, str]:
        """Of the last step, by name, in the order in which a step uses them; empty where none were taken."""
        return self._found


def columns(modules: nn.ModuleDict, optimizer: Optimizer, ranks: Ranks) -> tuple[str, ...]:
    """The columns of checksums.csv: the step, and all names that `StateSums.found` has."""
    state = (name for name, _, _ in (*Others(modules, optimizer, ranks).parts(), *optimizer.owned()))
    return ("step", ROWS, *optimizer.counts(), *state, *(f"{slot.name}{GRADIENT}" for slot in optimizer.slots))


class Others:
    """Weights that are not trained, and buffers that checkpoints contain: whole on every rank, each sums up a part."""

    def __init__(self, modules: nn.ModuleDict, optimizer: Optimizer, ranks: Ranks) -> None:
        trained = {slot.name for slot in optimizer.slots}
        self._places = [
            (name, modules.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2])
            for name in modules.state_dict()
            if name not in trained
        ]
        self._ranks = ranks

    def parts(self) -> Iterator[Part]:
        """This rank's, as they are now."""
        found = [(name, getattr(owner, attribute)) for name, owner, attribute in self._places]
        borders = evenly([tensor.numel() for _, tensor in found], self._ranks.size)
        for (name, tensor), cut in zip(found, borders, strict=True):
            start, stop = cut[self._ranks.rank : self._ranks.rank + 2]
            yield name, tensor.detach().reshape(-1)[start:stop], start


class Digests:
    """A phase's rows as the objective reads them, which may be a step ahead, with a digest of what was handed on."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._found: dict[int, str] = {}

    def samples(self, first: int, count: int, tail: int) -> list[Sample]:
        """The loader's rows of tokens."""
        rows = self._rows.samples(first, count, tail)
        self._found[first] = _digest(
            (row.tokens, row.labels, row.segments, row.positions, *_pixels(row)) for row in rows
        )
        return rows

    def pairs(self, first: int, count: int, tail: int) -> list[PairRow]:
        """The loader's rows of pairs."""
        rows = self._rows.pairs(first, count, tail)
        self._found[first] = _digest((row.captions, row.caption_lengths, *_pixels(row)) for row in rows)
        return rows

    def of(self, step: Step) -> str:
        """The digest of a step's rows; those of the steps before it are forgotten."""
        for first in list(self._found):  # at once: a thread may add the next step's
            if first < step.first_sample:
                del self._found[first]
        return self._found[step.first_sample]


def _pieces(part: Part) -> tuple[list[Piece], Rest | None]:
    return pieces(part[1], part[2])


def _pixels(row: Sample | PairRow) -> Iterator[NDArray[np.float32]]:
    return (image.pixels for image in row.images)


def _digest(rows: Iterable[Iterable[NDArray[Any]]]) -> str:
    hasher = blake3()
    for row in rows:
        arrays = list(row)
        hasher.update(repr([array.shape for array in arrays]).encode())
        for array in arrays:
            hasher.update(array.reshape(-1).view(np.uint8).data)  # its own memory: no copy
    return str(hasher.hexdigest())[:16]
