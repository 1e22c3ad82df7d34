"""Files of unknown origin: regular, bounded, UTF-8, inside the folder that is audited; nothing else is opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.errors import SpecError, UserError, Where
from stages.printable import printable

MAX_BYTES = 1_000_000  # of one file: several times the longest recipe known (a list of 2,000 data files)
MAX_FILES = 2_000  # of a folder
MAX_DEPTH = 12  # folders below the one that is given
SKIPPED = frozenset({"node_modules", "__pycache__", "site-packages"})


@dataclass(frozen=True)
class Source:
    """A file to read: its path, its name in what is reported, and the folder that it may refer to other files in."""

    path: Path
    base: Path
    root: Path

    @property
    def name(self) -> str:
        """The path below the folder that is audited."""
        return printable(self.path.relative_to(self.base).as_posix()).replace("\n", " ")


class Unreadable(SpecError):  # noqa: N818 - as SpecError, it names a place
    """A file that cannot be read as what it is named; it is left out and reported."""


def refuse(where: Where, found: str, allowed: str, repair: str) -> Unreadable:
    """An error about a file as a whole."""
    return Unreadable(where, "the file", found, allowed, repair)


def text(path: Path, name: str) -> str:
    """A file's text. Raises Unreadable for what is no regular UTF-8 file of at most MAX_BYTES."""
    top = Where(printable(name), 1)
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise refuse(top, "no regular file", "a file", "Give the file itself, not a link, folder or device.")
        if found.st_size > MAX_BYTES:
            raise refuse(top, f"{found.st_size:,} bytes", f"at most {MAX_BYTES:,}", "Audit the recipe alone.")
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise refuse(top, error.strerror or "an error", "a file that can be read", "See its permissions.") from None
    if len(data) > MAX_BYTES:
        raise refuse(top, "a file that grows", "one that nothing writes to", "Audit the recipe alone.")
    if b"\0" in data:
        zero = "a byte of zero, as UTF-16 and binary files have"
        raise refuse(top, zero, "UTF-8 text", "Save it so, or audit the recipe alone.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise refuse(Where(top.file, line), f"byte {error.start} is not UTF-8", "UTF-8 text", "Save it so.") from None


def files(folder: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    """The files below a folder with one of these suffixes, by name; links and hidden folders are not followed."""
    found = 0
    for here, folders, names in os.walk(folder, followlinks=False):
        depth = len(Path(here).relative_to(folder).parts)
        folders[:] = sorted(one for one in folders if one[0] != "." and one not in SKIPPED and depth < MAX_DEPTH)
        for name in sorted(names):
            path = Path(here, name)
            if path.suffix.lower() not in suffixes or path.is_symlink():
                continue
            found += 1
            if found > MAX_FILES:
                raise UserError(f"{printable(str(folder))}: more than {MAX_FILES:,} files; give the recipe's folder.")
            yield path
