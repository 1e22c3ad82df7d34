"""Steps of the torch engine: the whole model on every rank, gradients added along one fixed tree."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from stages.contract.ledger import Step
from stages.train.alike import Alike
from stages.train.objectives.base import Objective, weights_rounded_once
from stages.train.optimizer import Clipped, Optimizer
from stages.train.ranks import ALONE, Ranks
from stages.train.reduce import Gradients, TreeSum, merge
from stages.train.state_sums import StateSums


class Replicated:
    """A `Stepper` of an objective and an optimizer."""

    def __init__(
        self,
        optimizer: Optimizer,
        objective: Objective,
        ranks: Ranks = ALONE,
        sums: StateSums | None = None,
        alike: Alike | None = None,
    ) -> None:
        """`sums`: takes checksums of every step, of rows that the objective reads through it; None: none are taken.
        `alike`: compares the ranks in every step; None: there is one, or nothing is compared.
        """
        self.optimizer, self.objective, self._ranks, self._sums, self._alike = optimizer, objective, ranks, sums, alike
        self.extras = objective.extras
        self._clipped: Clipped | None = None

    def gradients(self, step: Step) -> list[float]:
        """Micro-batches along the tree, checksums, the norm. Waits for the device once, and for checksums."""
        self._clipped = None  # of a step that was skipped: it would take memory next to this one's
        gradients, values = gather(self.optimizer, self.objective, step, self._ranks)
        if self._alike is not None:
            self._alike.check(step)
        if self._sums is not None:
            self._sums.take(step, gradients)
        self._clipped = self.optimizer.clip(gradients)
        found: list[float] = torch.stack([values[0], self._clipped.norm, *values[1:]]).tolist()
        return found

    def update(self, lr: float, clock: int) -> None:
        """Move every trained parameter; then what follows a step in the objective."""
        clipped, self._clipped = self._clipped, None
        if clipped is None:
            raise AssertionError("an update without gradients")
        self.optimizer.step(clipped, lr, clock)
        self.objective.finish()

    def supervised(self) -> int:
        """Targets of the step."""
        return self.objective.supervised()

    def checksums(self) -> Mapping[str, str]:
        """Of rows, state and gradients."""
        return {} if self._sums is None else self._sums.found()

    def close(self) -> None:
        """End what prepares the steps' data."""
        self.objective.close()


def gather(
    optimizer: Optimizer, objective: Objective, step: Step, ranks: Ranks = ALONE
) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of the whole step, one per trained parameter, and the summed values: loss, then the extras.

    The values travel along the same tree as the gradients. A parameter that nothing touched has gradient zero.

    A leaf is two micro-batches: the second backward pass adds each tensor's gradient to the first one's as soon as it
    is there, which is the lowest level of the tree. So it is not read from memory again, and takes none.
    """
    parameters, tree = optimizer.parameters, TreeSum()
    mine = ranks.share(objective.begin(step))
    with weights_rounded_once(objective.stage):
        for first in range(0, len(mine), 2):
            values: Gradients = []
            for index in mine[first : first + 2]:
                loss, extras = objective.part(index)
                if loss.requires_grad:  # text alone, where only the vision tower is trained, moves nothing
                    loss.backward()
                found: Gradients = [loss.detach().float(), *(extra.float() for extra in extras)]
                values = merge(values, found) if values else found
            leaf: Gradients = [parameter.grad for parameter in parameters]
            for parameter in parameters:
                parameter.grad = None  # the next backward pass makes new tensors: no copy, and none is shared
            tree.add([*leaf, *values])
            del leaf  # what was added to another sum is not needed while the next backward pass is made
    zero = torch.zeros((), device=parameters[0].device)
    total = ranks.all_reduce(tree.result(), [*parameters, zero, *(zero for _ in objective.extras)])
    if total is None:
        raise AssertionError("a step without micro-batches")
    gradients, values = total[: len(parameters)], total[len(parameters) :]
    whole = objective.whole_batch()
    if whole is not None:
        gradients = [_add(a, b) for a, b in zip(gradients, whole, strict=True)]
    filled = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, parameters, strict=True)]
    known = objective.whole_values()
    named = zip(("loss", *objective.extras), values, strict=True)
    return filled, [known.get(name, zero if value is None else value) for name, value in named]


def _add(left: Tensor | None, right: Tensor | None) -> Tensor | None:
    if left is None or right is None:
        return right if left is None else left
    return left + right
