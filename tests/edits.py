"""Edits of files and texts that a test makes, each of which finds what it is to replace.

An edit that finds nothing changes nothing, and a test that goes on tries what it never said. `str.replace` and `re.sub`
are silent about it, so tests use these (tests/unit/test_edits.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import AnyStr


def replaced(text: AnyStr, *words: AnyStr, everywhere: bool = False) -> AnyStr:
    """A text in which the first of `words` has become the second, then the third the fourth, and so on.

    What is replaced stands in it once, or with `everywhere` at least once; raises AssertionError where it does not.
    """
    for old, new in zip(words[::2], words[1::2], strict=True):
        _found(text.count(old), old, everywhere)
        text = text.replace(old, new)
    return text


def substituted(text: str, pattern: str, new: str | Callable[[re.Match[str]], str], *, everywhere: bool = False) -> str:
    """The same with a regular expression, of which ^ and $ match at every line."""
    text, times = re.subn(pattern, new, text, flags=re.MULTILINE)
    _found(times, pattern, everywhere)
    return text


def edit(path: Path, *words: str, everywhere: bool = False) -> int:
    """`replaced` in a file; returns the line at which the first of `words` stood, counted from 1."""
    text = path.read_text()
    path.write_text(replaced(text, *words, everywhere=everywhere))
    return text[: text.index(words[0])].count("\n") + 1


def _found(times: int, what: object, everywhere: bool) -> None:
    expected = "at least once" if everywhere else "once"
    assert times == 1 or (times and everywhere), f"{what!r} is found {times} times and has to be there {expected}"
