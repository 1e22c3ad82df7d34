"""Tests that need Megatron: run by `make nemo` under .venv-nemo, skipped where it cannot be imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WHY = "needs Megatron-Bridge (`make nemo` makes its environment)"


def there() -> bool:
    """Whether Megatron-Bridge is installed; nothing is imported for it but the empty package above."""
    return importlib.util.find_spec("megatron") is not None and importlib.util.find_spec("megatron.bridge") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if there():
        return
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.skip(reason=WHY))


@pytest.fixture(autouse=True, scope="session")
def _megatron() -> None:
    """Imported once for all tests of the process, which then fork their ranks."""
    if there():
        from stages.engines.nemo import cpu

        cpu.install()
