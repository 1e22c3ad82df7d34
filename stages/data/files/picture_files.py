"""The bytes of a picture that a row names: a file, a member of the row's own tar, a data URL; nothing is downloaded."""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path, PurePosixPath

from stages.data.files.pieces import LONGEST
from stages.data.files.webdataset import Sample
from stages.data.turns import RowError
from stages.errors import UserError
from stages.store.contained import contained

BELOW = "a path relative to the project or the declared root, of a file below it"
DATA = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|data:", re.IGNORECASE)


def within(name: str) -> bytes | None:
    """The bytes that a data URL contains itself; None for the name of a file. Raises RowError for any other address."""
    if (begun := DATA.match(name)) is not None:
        try:
            return base64.b64decode(name[begun.end() :], validate=True)
        except (binascii.Error, ValueError):
            raise RowError("not base64", "data:image/png;base64,... as RFC 2397 has it") from None
    if ADDRESS.match(name):
        raise RowError("an address, and nothing is downloaded", f"{BELOW}, or data:image/png;base64,...")
    return None


def read(base: Path, name: str) -> bytes:
    """The bytes of a file below `base`, links followed. Raises RowError."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise RowError("not below the project or the root", BELOW)
    try:
        real = contained(base / path, [base], "picture", "Copy the file.")
    except UserError as error:
        raise RowError(str(error), BELOW) from None
    if real is None:
        raise RowError("no such file", BELOW)
    with real.open("rb") as file:
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise RowError(f"a picture of more than {LONGEST:,} bytes", "smaller ones")
    return data


def member(sample: Sample, name: str, left: set[str]) -> bytes:
    """The bytes of a sample's member, by what follows the first dot of its name (`0.jpg`), or its whole name.

    It is taken out of `left`. Raises RowError.
    """
    stem = sample.key.rpartition("/")[2]
    extension = name.removeprefix(f"{stem}.").lower()
    found = sample.members.get(extension, [])
    if len(found) != 1:
        there = ", ".join(sorted(sample.members)[:4]) or "none"
        raise RowError(f"{len(found)} members of the row are called so", f"one of the row's own, which has {there}")
    left.discard(extension)
    data = found[0][1]
    if data is None:
        raise RowError(f"more than {LONGEST:,} bytes", "smaller ones")
    return data
