"""In which line of a JSON text the value of a key stands, for messages about files that people have not written."""

from __future__ import annotations

import json
import re

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]')


def lines(text: str) -> dict[str, int]:
    """Dotted path of each key -> its line, counted from 1. Of a key that comes twice, the last, which is what counts.

    `text` is valid JSON. Keys inside lists have the list's path.
    """
    found: dict[str, int] = {}
    path: list[str] = []  # of the objects and lists that are open
    key = ""
    last: tuple[str, int] | None = None
    for token in TOKEN.finditer(text):
        mark = token.group()
        match mark:
            case "{" | "[":
                path.append(key)
                key = ""
            case "}" | "]":
                path.pop()
            case ":":
                assert last is not None
                key = last[0]
                found[".".join(part for part in (*path, key) if part)] = last[1]
            case ",":
                key = ""
            case _:
                last = json.loads(mark), text.count("\n", 0, token.start()) + 1
    return found
