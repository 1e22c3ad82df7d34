"""The tiny corpora of tests/unit/data, prepared once for all tests of this folder."""

from tests.unit.data.conftest import small

__all__ = ("small",)
