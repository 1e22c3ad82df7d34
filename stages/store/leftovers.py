"""Directories that a killed process left next to what it was making, found by their names and by nothing wider.

Users' own files lie in the same place. A name counts only as a whole: the prefix as it stands, the number of a process,
and the ending. Characters that have a meaning in patterns have none here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

DIGITS = 9  # of the number of a process, at most: far above what a kernel gives


def named(parent: Path, prefix: str, endings: Iterable[str] = ("",)) -> Iterator[tuple[Path, int]]:
    """Directories in `parent`, no links, called prefix, number, ending; each with the number. Raises OSError."""
    ending = "|".join(map(re.escape, endings))
    name = re.compile(f"{re.escape(prefix)}([0-9]{{1,{DIGITS}}})(?:{ending})")
    for path in sorted(parent.iterdir()):
        found = name.fullmatch(path.name)
        if found is not None and path.is_dir() and not path.is_symlink():
            yield path, int(found[1])


def of_dead(parent: Path, prefix: str, endings: Iterable[str] = ("",)) -> Iterator[Path]:
    """Those whose process is gone, where `prefix` names this host. One with our own number is of an earlier process."""
    for path, number in named(parent, prefix, endings):
        if number == os.getpid() or not psutil.pid_exists(number):
            yield path
