"""What checkpoints in the background are made of: one job at a time in a thread, and a copy of the state."""

from __future__ import annotations

import threading

import pytest
import torch

from stages.errors import UserError
from stages.train.background import Background
from stages.train.snapshot import Snapshot

CPU = torch.device("cpu")
PATIENCE = 60.0  # seconds until a test gives up on what should happen at once


def test_an_error_of_a_job_is_raised_by_whatever_is_asked_next_and_once() -> None:
    def broken() -> None:
        raise UserError("no")

    for ask in (Background.check, Background.wait, lambda flight: flight.start(lambda: None)):
        flight = Background()
        flight.start(broken)
        flight.settle()
        with pytest.raises(UserError, match="no"):
            ask(flight)
        flight.wait()


@pytest.mark.parametrize(("leaves", "waited"), [(None, True), (UserError, True), (KeyboardInterrupt, False)])
def test_whatever_leaves_a_run_waits_for_the_job_but_for_a_second_ctrl_c(
    leaves: type[BaseException] | None, waited: bool
) -> None:
    gate, done = threading.Event(), threading.Event()

    def job() -> None:
        assert gate.wait(PATIENCE)
        done.set()

    threading.Timer(0.1, gate.set).start()
    try:
        with Background() as flight:
            flight.start(job)
            if leaves is not None:
                raise leaves("end")
    except (UserError, KeyboardInterrupt):
        pass
    assert done.is_set() == waited
    assert done.wait(PATIENCE)


def test_what_ended_a_run_is_told_and_not_what_the_job_in_flight_raised() -> None:
    def broken() -> None:
        raise UserError("the disk")

    def ended(flight: Background, by: Exception) -> None:
        with flight:
            flight.start(broken)
            raise by

    with pytest.raises(UserError, match="the loss"):
        ended(Background(), UserError("the loss"))
    with pytest.raises(UserError, match="the disk"), Background() as flight:
        flight.start(broken)


def test_a_snapshot_stays_as_it_was_and_uses_its_memory_again() -> None:
    live = {"w": torch.arange(6.0).view(2, 3).mT, "n": torch.tensor(3), "b": torch.ones(5, dtype=torch.bfloat16)}
    snapshot = Snapshot(live, CPU)
    first = dict(snapshot.take(live.items()))
    memory = {name: tensor.data_ptr() for name, tensor in first.items()}
    before = {name: tensor.clone() for name, tensor in live.items()}
    for tensor in live.values():
        tensor.add_(1)
    assert all(torch.equal(first[name], tensor) for name, tensor in before.items())
    second = snapshot.take(live.items())
    assert all(torch.equal(second[name], tensor) for name, tensor in live.items())
    assert {name: tensor.data_ptr() for name, tensor in second.items()} == memory
    with pytest.raises(ValueError, match=r"n is torch.float32 \[2\], copied into \[\]"):
        snapshot.take([("n", torch.zeros(2))])
