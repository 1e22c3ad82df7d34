"""Nulls that a table has where a row lacks a key that other rows have: its nested columns give all rows the same keys.

Such a null looks like one that was written, and a chat template would write it into calls and tools. As
their JSON, in columns of text, they have their own keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.data.turns import RowError

ALLOWED = "calls' arguments, and tools, as their JSON in strings"


def refuse(row: Mapping[str, Any], columns: Mapping[str, str]) -> None:
    """Raise RowError for a row of a table that has a null in the arguments of a call, or in a tool."""
    for key, name in columns.items():
        value = row.get(name)
        if key == "tools":
            _refuse_nulls(value, name)
        elif isinstance(value, list):
            for place, turn in enumerate(value):
                for number, call in enumerate(_calls(turn)):
                    _refuse_nulls(_arguments(call), f"{name}[{place}].tool_calls[{number}].arguments")


def _calls(turn: Any) -> list[Any]:
    found = turn.get("tool_calls") if isinstance(turn, dict) else None
    return found if isinstance(found, list) else []


def _arguments(call: Any) -> Any:
    function = call.get("function", call) if isinstance(call, dict) else None
    return function.get("arguments") if isinstance(function, dict) else None


def _refuse_nulls(value: Any, name: str) -> None:
    left = list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list) else []
    while left:
        one = left.pop()
        if one is None:
            raise RowError(f"{name} has a null, as tables have it for a key that other rows have", ALLOWED)
        if isinstance(one, dict | list):
            left += one.values() if isinstance(one, dict) else one
