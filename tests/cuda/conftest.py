"""Tests that need a GPU. `make device` runs them; without a GPU they are skipped: "needs CUDA".

STAGES_TEST_DEVICE=cpu runs them on a CPU: `make device-rehearsal`, so that no line of them is executed for the first
time on a machine that is lent by the minute. What a CPU cannot do at all has the marker `gpu_only`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from stages.engines import training
from stages.store import fingerprint
from tests.unit.evals.conftest import build
from tests.unit.train import tiny

# cuBLAS reads it once, at its first product, and the first test may not be one that asks for determinism.
os.environ.setdefault(*fingerprint.CUBLAS)
WORKER = "PYTEST_XDIST_WORKER"  # environment variable: pytest-xdist starts another process for one that ends
DEVICE = os.environ.get("STAGES_TEST_DEVICE", "cuda")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in here:
        if DEVICE == "cuda" and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs CUDA"))
        elif DEVICE != "cuda" and item.get_closest_marker("gpu_only"):
            item.add_marker(pytest.mark.skip(reason="needs CUDA, and a CPU cannot stand in"))


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The GPU; in a rehearsal the CPU."""
    return torch.device(DEVICE)


@pytest.fixture(autouse=True)
def memory_given_back() -> Iterator[None]:
    """No test keeps memory of the device from the next one, or a context in which every call fails."""
    yield
    if torch.cuda.is_available():
        try:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
        except RuntimeError as error:  # such as a misaligned address: CUDA answers nothing else in this process
            if WORKER not in os.environ:
                raise
            print(f"this process ends, another takes the other tests: {error}", file=sys.stderr, flush=True)
            os._exit(1)


@pytest.fixture
def made_up_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages read samples that are made up from their numbers."""
    monkeypatch.setattr(training, "PhaseData", tiny.Data)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small prepared corpora of every kind, and their tokenizer."""
    return build(tmp_path_factory.mktemp("data"))
