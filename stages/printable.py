"""Text that may go to a terminal, a log, a picture or a batch script: nothing in it acts, whatever its source.

A control character can move the cursor, hide what stands next to it, or begin a new line in a batch script. Specs have
none (`spec/nodes.py`); what is read from results, logs and releases is shown with them spelled out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

# C0, DEL and C1, line and paragraph separators, what turns the direction of writing, and halves of surrogate pairs.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with every control character but line breaks spelled as Python spells it: an escape becomes \\x1b."""
    return CONTROL.sub(_spelled, text)


def print_json(value: Any, sort_keys: bool = False) -> None:
    """Print a value as JSON. Raises ValueError for NaN and infinities, which JSON does not have."""
    print(json.dumps(value, indent=2, sort_keys=sort_keys, allow_nan=False))


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, without a line break at its end."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(printable(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def first_few(items: Sequence[str], most: int, between: str = ", ") -> str:
    """The first of a list, and how many more there are: "a, b and 3 more"; of clauses, "a is 1; b is 2, and 3 more"."""
    comma, rest = "" if between == ", " else ",", len(items) - most
    return between.join(items[:most]) + (f"{comma} and {rest:,} more" if rest > 0 else "")


def _spelled(found: re.Match[str]) -> str:
    character = found[0]
    return character if character == "\n" else ascii(character)[1:-1]
