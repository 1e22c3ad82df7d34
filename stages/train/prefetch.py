"""A phase's data, one step ahead of the training that needs them.

While a step is computed, a thread reads the next one's samples and stacks them. Which samples a step has follows from
its number alone, so nothing has to be put back where a run stops: what was prepared and not taken is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

from stages.contract import ledger
from stages.contract.ledger import Step
from stages.spec.resolved_phases import Phase

T = TypeVar("T")


def helps(device: torch.device) -> bool:
    """Whether preparing a step goes on during another's computation: with a GPU.

    On a CPU a stage has one thread and one core, and reading takes 1% to 2% of a miniature's step: six steps of
    ouro/stable_2_1_4b, llama31_1m/sft_32k and kimi_vl/joint_pretrain, four times each, gained nothing by the thread.
    """
    return device.type != "cpu"


class Prefetch(Generic[T]):
    """Prepares steps of a phase by calling `prepare` on a thread, in order, at most one ahead; `close` ends it."""

    def __init__(self, prepare: Callable[[Step], T], phase: Phase, device: torch.device) -> None:
        self._prepare, self._phase = prepare, phase
        self._thread = _thread(device) if helps(device) else None
        self._coming: tuple[Step, Future[T]] | None = None

    def take(self, step: Step) -> T:
        """What was prepared for a step; the one after it is begun. Raises what preparing this step raised."""
        if self._thread is None:
            return self._prepare(step)
        if self._coming is not None and self._coming[0] == step:
            found = self._coming[1]
        else:  # the first step after a start
            found = self._thread.submit(self._prepare, step)
        self._coming = None
        prepared = found.result()
        if step.end < self._phase.budget:
            following = ledger.step_at(self._phase, step.end)
            self._coming = following, self._thread.submit(self._prepare, following)
        return prepared

    def close(self) -> None:
        """Wait for the thread, and drop what was not taken."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
            self._coming = None


def _thread(device: torch.device) -> ThreadPoolExecutor:
    """One thread, set up as the one that trains is: denormals and the current GPU belong to a thread."""
    number = torch.cuda.current_device() if device.type == "cuda" else None

    def set_up() -> None:
        torch.set_flush_denormal(True)
        if number is not None:
            torch.cuda.set_device(number)

    return ThreadPoolExecutor(1, thread_name_prefix="prefetch", initializer=set_up)
