"""Ranks that die by SIGKILL, each at one moment of a stage: before or after the n-th call of something that it does."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CALLS = {"handed over": 1, "built": 1, "gradients": 7, "update": 7, "saved": 2, "in place": 2, "result": 1, "done": 1}
FIRST = ("in place", "result", "done")  # what the first rank does alone


@dataclass(frozen=True)
class Kill:
    """Which rank dies at the `count`-th call of `moment`, before it begins or when it has ended."""

    rank: int
    moment: str
    count: int
    before: bool

    def __call__(self) -> None:
        """Called in every rank before the stage begins."""
        if int(os.environ["RANK"]) == self.rank:
            holder, name = _places()[self.moment]
            setattr(holder, name, self._deadly(getattr(holder, name)))

    def _deadly(self, call: Callable[..., Any]) -> Callable[..., Any]:
        calls = iter(range(1, 1_000))

        def wrapped(*given: Any, **named: Any) -> Any:
            now = next(calls) == self.count
            if now and self.before:
                os.kill(os.getpid(), signal.SIGKILL)
            found = call(*given, **named)
            if now:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return wrapped


def drawn(ranks: int, seed: int, number: int) -> Kill:
    """The `number`-th kill of a seed."""
    dice = random.Random(f"{seed} {number}")
    moment = dice.choice(sorted(CALLS))
    rank = 0 if moment in FIRST else dice.randrange(ranks)
    return Kill(rank, moment, dice.randint(1, CALLS[moment]), dice.random() < 0.5)


def _places() -> dict[str, tuple[Any, str]]:
    from stages.engines import results
    from stages.engines.nemo import checkpoint, handover, trainer
    from stages.engines.nemo.optimizer import Mover
    from stages.engines.nemo.step import Steps
    from stages.store import trees

    return {
        "handed over": (handover, "load_weights"),
        "built": (trainer.NemoTrainer, "built"),
        "gradients": (Steps, "gradients"),
        "update": (Steps, "update"),
        "core": (Mover, "step"),
        "saved": (checkpoint, "_save"),
        "in place": (trees, "replace_folder"),
        "result": (results, "write_model"),
        "done": (results, "complete"),
    }
