import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stages.engines import Inputs, run, training
from stages.spec.resolved import Stage
from stages.train import loop
from stages.train.stopping import ASKING, StoppedError
from tests.unit.train import tiny


@pytest.fixture
def made_up_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages read samples that are made up from their numbers."""
    monkeypatch.setattr(training, "PhaseData", tiny.Data)


@pytest.fixture
def run_with_stops(monkeypatch: pytest.MonkeyPatch) -> Callable[[Stage, Inputs, int], None]:
    """Runs a stage to its end, stopped so many times after one step more."""
    record = loop.record

    def stop(made: loop.Run, *args: Any) -> None:
        record(made, *args)
        made.stop.ask()

    def stopped(stage: Stage, inputs: Inputs, times: int) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(loop, "record", stop)
            for _ in range(times):
                with pytest.raises(StoppedError):
                    run(stage, inputs)
        run(stage, inputs)

    return stopped


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as at a terminal: what started these tests may ignore it, as scripts do for what they put behind &."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


@pytest.fixture
def signals() -> Iterator[None]:
    """What asks for a stop, as in a process that nobody has set up: what started these tests may ignore some."""
    inherited = {number: signal.signal(number, signal.SIG_DFL) for number in ASKING}
    yield
    for number, handler in inherited.items():
        signal.signal(number, handler)
