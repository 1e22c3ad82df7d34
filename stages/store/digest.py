"""What a file contains, as its size and a digest of its bytes."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

BLOCK = 8 << 20  # bytes written, read or hashed at once
LOST = (errno.EIO, errno.EBADMSG, getattr(errno, "EUCLEAN", errno.EIO))  # a disk cannot give back what it was given


@dataclass(frozen=True)
class Written:
    """A file as it was meant: size in bytes and blake3 of the buffers that were handed to the disk."""

    size: int
    blake3: str


def digest_bytes(data: bytes) -> str:
    """blake3 of `data`, 64 hex digits."""
    return str(blake3(data).hexdigest())


def digest_file(path: Path) -> str:
    """blake3 of a file's bytes, 64 hex digits, read in large blocks on one thread."""
    return measure(path).blake3


def digest_found(path: Path) -> str:
    """What a check for damage finds of a file: its blake3, or why its disk cannot give it back, which no digest equals.

    Raises OSError where this user may not read it: that says nothing of the file.
    """
    try:
        return digest_file(path)
    except OSError as error:
        if error.errno not in LOST:
            raise
        return f"none ({error.strerror})"


def measure(path: Path, report: Callable[[int], None] = lambda _: None) -> Written:
    """Size and digest of a file as it is on the disk; `report` is given the bytes of each block that was read."""
    hasher, size = blake3(), 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK):
            hasher.update(block)
            size += len(block)
            report(len(block))
    return Written(size, str(hasher.hexdigest()))
