"""Bytes on disk: digests, and writes that are either whole or absent, also after a power cut."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

BLOCK = 8 << 20  # bytes read at once while hashing


def digest_bytes(data: bytes) -> str:
    """blake3 of `data`, 64 hex digits."""
    return str(blake3(data).hexdigest())


def digest_file(path: Path) -> str:
    """blake3 of a file's bytes, 64 hex digits, read in large blocks on one thread."""
    hasher = blake3()
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK):
            hasher.update(block)
    return str(hasher.hexdigest())


def fsync_file(path: Path) -> None:
    """Flush a file's bytes to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_dir(path: Path) -> None:
    """Flush a folder's list of names to the disk, so that a rename in it survives a power cut."""
    fsync_file(path)


def fsync_tree(folder: Path) -> None:
    """Flush every file under `folder`, then the folders from the inside out."""
    for file in files_under(folder):
        fsync_file(folder / file)
    for parent, _, _ in os.walk(folder, topdown=False):
        fsync_dir(Path(parent))


def files_under(folder: Path) -> Iterator[str]:
    """Paths of the files under `folder`, relative, with forward slashes, sorted."""
    yield from sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old bytes or the new ones, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_dir(path.parent)
