"""JSON of users: an object that has a key twice is an error, where most readers take the last one silently."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from stages.store.json_file import keys_once

WHITE = " \t\n\r"  # white space of JSON
ENDS = ("\n", "", "\r\n")  # of a line, as a rule


def parsed(text: str) -> Any:
    """What a text of JSON says. Raises RepeatedKeyError, ValueError for what is no JSON, RecursionError."""
    if text.startswith("{"):  # a row, as a rule, and then nothing behind it: the shortest way
        with suppress(StopIteration):
            row, end = _SCAN(text, 0)
            if (behind := text[end:]) in ENDS or not behind.strip(WHITE):
                return row
    return json.loads(text, object_pairs_hook=keys_once)


_DECODER: Any = json.JSONDecoder(object_pairs_hook=keys_once)  # whose types do not have `scan_once`
_SCAN: Callable[[str, int], tuple[Any, int]] = _DECODER.scan_once  # raises StopIteration where a value has to be
