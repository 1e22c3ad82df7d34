"""pyarrow, where it is installed: an extra, since only its own formats and zstandard need it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from stages.errors import UserError


def pyarrow(name: str, module: str = "pyarrow") -> Any:
    """pyarrow or one of its modules, for a file that messages call `name`. Raises UserError where it is missing."""
    try:
        return import_module(module)
    except ImportError:
        raise UserError(f"{name}: pyarrow reads it, and is not installed: `pip install 'stages[data]'`.") from None
