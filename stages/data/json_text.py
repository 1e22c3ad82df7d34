"""JSON of users: an object that has a key twice is an error, where most readers take the last one silently."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

WHITE = " \t\n\r"  # white space of JSON
ENDS = ("\n", "", "\r\n")  # of a line, as a rule


class RepeatedKeyError(ValueError):
    """An object has a key twice, so that readers differ in what it says."""


def parsed(text: str) -> Any:
    """What a text of JSON says. Raises RepeatedKeyError, ValueError for what is no JSON, RecursionError."""
    if text.startswith("{"):  # a row, as a rule, and then nothing behind it: the shortest way
        with suppress(StopIteration):
            row, end = _SCAN(text, 0)
            if (behind := text[end:]) in ENDS or not behind.strip(WHITE):
                return row
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RepeatedKeyError(f"the key {twice!r} is there {names.count(twice)} times in one object")
    return found


_DECODER: Any = json.JSONDecoder(object_pairs_hook=_object)  # whose types do not have `scan_once`
_SCAN: Callable[[str, int], tuple[Any, int]] = _DECODER.scan_once  # raises StopIteration where a value has to be
