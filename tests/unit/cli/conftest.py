"""Commands that are run in the tests' own process."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from stages.train.stopping import ASKING


@pytest.fixture(autouse=True)
def requests() -> Iterator[None]:
    """A command that was stopped ignores signals until its process ends; that of the tests goes on."""
    before = {number: signal.getsignal(number) for number in ASKING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
