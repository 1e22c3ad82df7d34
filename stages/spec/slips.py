"""What an author typed where a file is no YAML, or a value none of those allowed: the cause, where it can be told.

A character that looks like another one, the marks of a merge in git, a line that is further in than its neighbours.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

CONFLICT = re.compile(r"<{7} |={7}$|>{7} ")
# How libyaml begins what it says of such a line.
TOO_FAR_IN = ("mapping values are not allowed", "did not find expected key")


class Cause(NamedTuple):
    """The line, counted from 0, what was found there, and what to do."""

    line: int
    found: str
    repair: str


def foreign(text: str) -> str:
    """The first character of a text that is not ASCII, as messages name it: two of them may look the same."""
    found = next((one for one in text if not one.isascii()), None)
    return "" if found is None else f"U+{ord(found):04X} {unicodedata.name(found, 'without a name')}"


def cause(text: str, line: int, problem: str) -> Cause | None:
    """Why YAML ends at a line, where libyaml's own words do not say it."""
    lines = text.splitlines()
    marks = next((number for number, one in enumerate(lines) if CONFLICT.match(one)), None)
    if marks is not None:
        return Cause(marks, "the marks of a merge in git", "Keep one of the two sides, and take the marks out.")
    if not lines:
        return None
    line = min(line, len(lines) - 1)
    above = next((number for number in range(line - 1, -1, -1) if _content(lines[number])), line)
    for number in (line, above):
        bare = _bare(lines[number])
        if name := foreign(bare):
            return Cause(number, f"the character {name}", "Type the line again with plain characters.")
    here, before = _bare(lines[line]), _bare(lines[above])
    if not problem.startswith(TOO_FAR_IN) or here.count(": ") + here.endswith(":") > 1 or before.endswith(":"):
        return None
    if _depth(here) <= _depth(before):
        return None
    found = f"a line that is further in than line {above + 1}, whose key has its value already"
    return Cause(line, found, "Indent both as the keys of one mapping.")


def _content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _bare(line: str) -> str:
    """Without its comment and what stands in quotes, which may hold any character."""
    return re.sub(r"\"[^\"]*\"|'[^']*'|(^|\s)#.*", "", line).rstrip(" ")


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
