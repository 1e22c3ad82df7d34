"""Values of a released config.json: when two are the same, and how one that is not as wanted is reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NOTHING: Any = object()  # a field that is not there


@dataclass(frozen=True)
class Wrong:
    """A field that is not as wanted: its path, what was found, what is allowed, and what to do."""

    field: str
    found: Any
    allowed: str
    repair: str = ""


def equal(found: Any, wanted: Any) -> bool:
    """Whether two values of JSON are the same: numbers by value, and true is no 1."""
    numbers = (int, float)
    if isinstance(found, numbers) and isinstance(wanted, numbers) and not isinstance(found, bool | type(None)):
        return not isinstance(wanted, bool) and found == wanted
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(equal, found, wanted))
    return type(found) is type(wanted) and bool(found == wanted)
