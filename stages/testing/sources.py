"""The files of a project that a training loop is made of: what may have changed since a golden was made."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stages.store.digest import digest_bytes

DIGITS = 12
OTHERS = ("site-packages", "dist-packages")


def digests(item: pytest.Item, train: Any, root: Path) -> dict[str, str]:
    """Path -> digest of the modules that a test and its loop reach by what they import, below the project's root."""
    begin = [getattr(item, "module", None), sys.modules.get(getattr(train, "__module__", ""))]
    waiting = [module for module in begin if isinstance(module, ModuleType)]
    found: dict[str, str] = {}
    while waiting:
        module = waiting.pop()
        path = Path(str(vars(module).get("__file__") or ""))
        if not path.is_file() or not path.is_relative_to(root) or set(path.parts) & set(OTHERS):
            continue
        name = path.relative_to(root).as_posix()
        if name not in found:
            found[name] = digest_bytes(path.read_bytes())[:DIGITS]
            waiting += _reached(module)
    return dict(sorted(found.items()))


def _reached(module: ModuleType) -> Iterator[ModuleType]:
    """The modules that another has in its namespace, or something of."""
    for value in list(vars(module).values()):
        name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        found = sys.modules.get(name) if isinstance(name, str) else None
        if isinstance(found, ModuleType):
            yield found
