"""What each mutant of `mutants` does to Megatron's side, in a process of its own that ends with the case."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Patch = Callable[[pytest.MonkeyPatch], None]
