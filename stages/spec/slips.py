"""What an author typed where a file is no YAML, or a value none of those allowed: the cause, where it is known.

A character that looks like another one, the marks of a merge in git, a line that is further in than its neighbours.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

import yaml

CONFLICT = re.compile(r"<{7} |={7}$|>{7} ")
# How libyaml begins what it says of such a line.
TOO_FAR_IN = ("mapping values are not allowed", "did not find expected key")
NO_VALUE = "found character that cannot start any token"
QUOTES = {"\N{LEFT DOUBLE QUOTATION MARK}": '"', "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
          "\N{LEFT SINGLE QUOTATION MARK}": "'", "\N{RIGHT SINGLE QUOTATION MARK}": "'"}  # fmt: skip


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
    if problem.startswith(NO_VALUE) and "\t" in re.match(r"\s*", lines[line])[0]:  # type: ignore[index]
        return Cause(line, "a tab before the text of a line", "Indent with spaces.")
    for number in (line, above):
        if (alike := _alike(lines, number)) is not None:
            return Cause(number, f"the character {foreign(alike)}", "Type the line again with plain characters.")
    here, before = _bare(lines[line]), _bare(lines[above])
    if problem.startswith(TOO_FAR_IN) and here.count("}") > here.count("{"):
        return Cause(line, "a } that closes nothing", "Put the line with its { back, or take the rest out.")
    if not problem.startswith(TOO_FAR_IN) or here.count(": ") + here.endswith(":") > 1 or before.endswith(":"):
        return None
    if _depth(here) <= _depth(before):
        return None
    found = f"a line that is further in than line {above + 1}, whose key has its value already"
    return Cause(line, found, "Indent both as the keys of one mapping.")


def _alike(lines: list[str], number: int) -> str | None:
    """The first character of a line that looks like one of YAML's own, if the line is read with all of these replaced.

    Letters of other alphabets, and dashes and quotes inside of a text, are as good as any.
    """
    found = [one for one in _bare(lines[number]) if _plain(one) != one]
    if not found:
        return None
    meant = [*lines[:number], "".join(map(_plain, lines[number])), *lines[number + 1 :]]
    try:
        for _ in yaml.parse("\n".join(meant), Loader=yaml.SafeLoader):
            pass
    except yaml.MarkedYAMLError as error:
        if error.problem_mark is None or error.problem_mark.line <= number + 1:
            return None
    return found[0]


def _plain(one: str) -> str:
    """The ASCII character that a mark or a space looks like; letters, digits, and marks like no other as they are."""
    kind = unicodedata.category(one)
    if one.isascii() or kind[0] in "LMN":
        return one
    looks = {"Pd": "-", "Zs": " "}.get(kind) or QUOTES.get(one) or unicodedata.normalize("NFKC", one)
    return looks if looks.isascii() else one


def _content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _bare(line: str) -> str:
    """Without its comment and what is in quotes, which may contain any character."""
    return re.sub(r"\"[^\"]*\"|'[^']*'|(^|\s)#.*", "", line).rstrip(" ")


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
