"""What has to be the same on all ranks: the rows of a step, and the weights that it is computed with.

A rank computes its share of a step with its own copy of the weights, from rows that it reads itself. Where a node has
other files, or a copy changed in memory, that share is of other data or of another model; the sum over ranks is the
same on each, and the owners' updates replace the copy. So nothing else shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from stages.contract.ledger import Step
from stages.errors import UserError
from stages.printable import first_few
from stages.train import checksum
from stages.train.optimizer import Optimizer
from stages.train.ranks import Ranks
from stages.train.state_sums import EVERY, Digests

SHOWN = 3
HALF = 32  # bits of a word that one number between ranks has
AGAIN = "Give the same command again: the stage goes on from its last checkpoint"
MEMORY = f"{AGAIN}. Where it ends so again, test that node's memory."
FILES = "Is the project's folder, with its results, the same file system on every node?"


class DifferentRanksError(UserError):
    """Ranks have different rows, or different weights, where they should have the same; nothing was kept of them."""


class Alike:
    """Compares what the ranks compute each step of a phase with. `rows` is read through by the phase's objective."""

    def __init__(self, where: str, optimizer: Optimizer, rows: Digests, ranks: Ranks) -> None:
        self._where, self._rows, self._ranks = where, rows, ranks
        self._weights = {slot.name: slot.parameter.detach() for slot in optimizer.slots}
        # Of a CPU: the memory that the optimizer moves, which stays where it is.
        self._pieces = [checksum.pieces(one) for one in self._weights.values()] if ranks.device.type == "cpu" else []

    def check(self, step: Step) -> None:
        """After the backward passes, and before the update, which would give every rank the owners' weights again.

        All ranks call it. Raises DifferentRanksError on each.
        """
        weights = 0 if step.index % EVERY[self._ranks.device.type] else self._word()
        found = self._ranks.each([*_halves(int(self._rows.of(step), 16)), *_halves(weights)])
        if (rank := other([one[:2] for one in found])) is not None:
            last = step.first_sample + step.sequences - 1
            raise DifferentRanksError(
                f"{self._where}: rank {rank} reads other rows of step {step.index + 1} (samples {step.first_sample} to "
                f"{last}) than the first rank; allowed: the same corpora on all nodes. Nothing was updated. {FILES}"
            )
        if other([one[2:] for one in found]) is not None:
            check_copies(f"{self._where}, at step {step.index + 1} of its phase", self._weights, self._ranks, MEMORY)

    def _word(self) -> int:
        if self._pieces:
            return sum(checksum.of_pieces(*one) for one in self._pieces) % (1 << 64)
        return sum(checksum.words([(one, 0) for one in self._weights.values()])) % (1 << 64)


def check_copies(where: str, tensors: Mapping[str, Tensor], ranks: Ranks, advice: str) -> None:
    """Raise DifferentRanksError on all ranks where one has other numbers in a tensor than the first. All ranks call it,
    with the same names.
    """
    if ranks.size == 1:
        return
    first, *others = ranks.values(words(tensors))
    different = {
        name: f"{name} of rank {rank} is not that of rank 0"
        for rank, theirs in reversed([*enumerate(others, 1)])
        for name, word in theirs.items()
        if word != first.get(name)
    }
    if different:
        shown = [different[name] for name in tensors if name in different]
        raise DifferentRanksError(
            f"{where}: {first_few(shown, SHOWN, '; ')}; allowed: the same on all. Nothing was saved of this. {advice}"
        )


def words(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """A checksum of each tensor, as 16 hex digits. Waits for a device once."""
    found = checksum.words([(one, 0) for one in tensors.values()])
    return {name: f"{word:016x}" for name, word in zip(tensors, found, strict=True)}


def _halves(word: int) -> tuple[int, int]:
    """A word of 64 bits as two numbers that fp64 has exactly."""
    return word >> HALF, word & ((1 << HALF) - 1)


def other(found: Sequence[object]) -> int | None:
    """The first rank that says something else than the first of all."""
    return next((rank for rank, one in enumerate(found) if one != found[0]), None)
