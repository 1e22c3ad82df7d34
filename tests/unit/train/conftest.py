import signal
from collections.abc import Iterator

import pytest

from stages.engines import training
from stages.train.stopping import ASKING
from tests.unit.train import tiny


@pytest.fixture
def made_up_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages read samples that are made up from their numbers."""
    monkeypatch.setattr(training, "PhaseData", tiny.Data)


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
