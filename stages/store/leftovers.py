"""Directories that a killed process left next to what it was making, found by their names and by nothing wider.

Users' own files lie in the same place. A name counts only as a whole: the prefix as it stands, a process as
`here.process` names it, and the ending. Characters that have a meaning in patterns have none here.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from stages.store import here

DIGITS = 9  # of the number of a process, at most: far above what a kernel gives
PROCESS = rf"(?P<host>.+)\.(?P<boot>[0-9a-f-]{{0,{here.KEPT}}})\.(?P<namespace>[0-9]*)\.(?P<number>[0-9]{{1,{DIGITS}}})"
DAY = 86_400.0  # seconds: what another container, or this host before it went down, has not written to since is left


def named(parent: Path, prefix: str, endings: Iterable[str] = ("",)) -> Iterator[tuple[Path, re.Match[str]]]:
    """Directories in `parent`, no links, called prefix, process, ending; each with its name. Raises OSError."""
    ending = "|".join(map(re.escape, endings))
    name = re.compile(f"{re.escape(prefix)}{PROCESS}(?:{ending})")
    for path in sorted(parent.iterdir()):
        found = name.fullmatch(path.name)
        if found is not None and path.is_dir() and not path.is_symlink():
            yield path, found


def of_dead(parent: Path, prefix: str, endings: Iterable[str] = ("",)) -> Iterator[Path]:
    """Those of this host whose process is gone. One with our own number is of an earlier process."""
    for path, of in named(parent, prefix, endings):
        if of["host"] != socket.gethostname():
            continue
        if (of["boot"], of["namespace"]) != (here.boot()[: here.KEPT], here.pid_namespace()):
            gone = time.time() - _written(path) > DAY  # its number says nothing here
        else:
            gone = int(of["number"]) == os.getpid() or not psutil.pid_exists(int(of["number"]))
        if gone:
            yield path


def _written(folder: Path) -> float:
    """When a directory or something right in it was last written, in seconds since 1970; now where it is just going."""
    try:
        return max(path.lstat().st_mtime for path in (folder, *folder.iterdir()))
    except FileNotFoundError:
        return time.time()
