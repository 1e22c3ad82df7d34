"""Verdicts are judged on the same toy results that the store's own tests use."""

from tests.unit.store.conftest import layout, run

__all__ = ["layout", "run"]
