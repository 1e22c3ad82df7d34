"""Bytes on disk: writes that are either whole or absent, also after a power cut, digested on the way."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from blake3 import blake3

from stages.errors import UserError
from stages.store import here
from stages.store.digest import BLOCK, Written, digest_bytes, measure
from stages.store.disk import Disk

disk = Disk()
_SAME = "give the same command: a stage goes on from its last checkpoint, a corpus from what is encoded of it."
AGAIN = f"Once the disk takes writes again, {_SAME}"
_FULL = f"Make room (`df -h`, and `df -i` for the number of files; `quota -s` for a quota), and {_SAME}"
_MAY = "Make it and its directory writable for this user, or give another place."
_IS = "Its directory is not there, or is a file: correct that, or give another place."
_FILE = "A file is where a directory has to be: move it away, or give another place."
_TAKEN = "Something else is in its place: move that away, or give another place."
_LINK = "A link is in its place, or its path leads nowhere: remove that, or give another place."
_NAMED = "Its path leads nowhere, or is too long: correct that, or give another place."
_OPEN = "Another process writes there, or has a file of it open on NFS: end it, or wait for it."
_SIZE = "It is larger than a limit (`ulimit -f`) or its file system allows: raise that, or give another place."
_LOCKS = "Its file system has no locks: put results on one that has (of NFS, one that is mounted with locks)."
# What is wrong with a place -> what to do, where waiting is no cure of it.
PLACES = {
    errno.EACCES: _MAY, errno.EPERM: _MAY, errno.EROFS: _MAY, errno.ENOENT: _IS, errno.ENOTDIR: _IS,
    errno.EEXIST: _FILE, errno.EISDIR: _TAKEN, errno.ENXIO: _TAKEN, errno.ENODEV: _TAKEN, errno.ELOOP: _LINK,
    errno.ENAMETOOLONG: _NAMED,
    errno.ENOSPC: _FULL, errno.EDQUOT: _FULL, errno.EFBIG: _SIZE,
    errno.ENOTEMPTY: _OPEN, errno.EBUSY: _OPEN, errno.ENOLCK: _LOCKS, errno.EOPNOTSUPP: _LOCKS,
}  # fmt: skip
SMALL = 64 << 10  # bytes that are hashed sooner than another thread has begun to
Data = bytes | Iterable[memoryview]
"""What a file is to contain: its bytes, or blocks of them, each of which is used before the next one is made."""


class WriteError(UserError):
    """The disk refused: full, read-only, broken."""


_record: ContextVar[dict[Path, Written] | None] = ContextVar("_record", default=None)


@contextmanager
def recording() -> Iterator[dict[Path, Written]]:
    """Collect what is written within the block, by path. Within an inner block, only the inner one collects."""
    found: dict[Path, Written] = {}
    token = _record.set(found)
    try:
        yield found
    finally:
        _record.reset(token)


@contextmanager
def failing(path: Path) -> Iterator[None]:
    """Turn an error of the disk into one that names the file and says what is left."""
    try:
        yield
    except OSError as error:
        raise unwritten(f"{path}: cannot be written", error) from error


def unwritten(what: str, error: OSError) -> WriteError:
    """Of what the disk refused: why, what is left, and what to do."""
    return WriteError(
        f"{what} ({error.strerror or error}). Nothing finished has been changed. {PLACES.get(error.errno or 0, AGAIN)}"
    )


def write(path: Path, data: Data, flush: bool = True) -> Written:
    """Write `data` to a new file in a folder that is not in place yet, flush it, and hash the same buffers on the way.

    What is read in full before it is used, against its digest, need not be flushed. Raises WriteError, and what the
    blocks raise; the part that was written is removed.
    """
    with failing(path):
        written = _write(path, data, flush)
    _note(path, written)
    return written


def write_atomic(path: Path, data: Data) -> None:
    """Write `data` to `path` so that a reader sees the old bytes or the new ones, never a part.

    Raises WriteError, and what the blocks raise.
    """
    temporary = temporary_name(path)
    with failing(path):
        make_dirs(path.parent)
        written = _write(temporary, data)
        with _removing(temporary):
            disk.rename(temporary, path)
        fsync_dir(path.parent)
    _note(path, written)


def temporary_name(path: Path) -> Path:
    """What a file is called that this process is to put in the place of `path`."""
    return path.with_name(f".{path.name}.{here.process()}.tmp")


def copy_beginning(path: Path, target: Path, wanted: Written) -> None:
    """Write what was written of a file that may be growing to another.

    Raises WriteError, OSError where the file is shorter, UserError where it has other bytes.
    """
    copied = write(target, _beginning(path, wanted.size))
    if copied != wanted:
        raise _changed(path, wanted, copied.blake3)


def _beginning(path: Path, size: int) -> Iterator[memoryview]:
    with path.open("rb", buffering=0) as file:
        left = size
        while left > 0:
            block = file.read(min(left, BLOCK))
            if not block:
                raise OSError(errno.EIO, f"{path} has {size - left} bytes, {size} were written")
            yield memoryview(block)
            left -= len(block)


def refuse_changed(path: Path, wanted: Written) -> None:
    """Raise UserError where a file is not as it was written."""
    found = measure(path) if path.is_file() else None
    if found != wanted:
        raise _changed(path, wanted, "nothing" if found is None else found.blake3)


def _changed(path: Path, wanted: Written, found: str) -> UserError:
    return UserError(
        f"{path}: expected blake3 {wanted.blake3}, found {found}: something else than its run has written to it. "
        f"Nothing of it is kept. Give the same command again: a stage goes on from its last checkpoint."
    )


def append(path: Path, data: bytes) -> None:
    """Add `data` at the end of a file and flush it. Raises OSError."""
    handle = disk.append(path)
    try:
        write_all(handle, memoryview(data))
        disk.fsync(handle)
    finally:
        disk.close(handle)


def write_all(handle: int, block: memoryview) -> None:
    """Write a block to an open file; a disk may take less at once than it was given. Raises OSError."""
    while len(block) > 0:
        block = block[disk.write(handle, block) :]


class Growing:
    """A file that is written piece by piece, hashed on the way. Raises WriteError."""

    def __init__(self, path: Path) -> None:
        self.path, self.written, self._hasher = path, Written(0, digest_bytes(b"")), blake3()
        write(path, b"")

    def add(self, data: bytes) -> None:
        """Add a piece at the end and flush it."""
        with failing(self.path):
            append(self.path, data)
        self._hasher.update(data)
        self.written = Written(self.written.size + len(data), str(self._hasher.hexdigest()))
        _note(self.path, self.written)


def _write(path: Path, data: Data, flush: bool = True) -> Written:
    handle = disk.create(path)  # where it refuses, what is there is not ours to remove
    with _removing(path):
        try:
            written = _write_hashed(handle, data)
            if flush:
                disk.fsync(handle)
        finally:
            disk.close(handle)
    return written


@contextmanager
def _removing(path: Path) -> Iterator[None]:
    """Remove a file where the block fails."""
    try:
        yield
    except Exception:
        with suppress(OSError):
            disk.unlink(path)
        raise


def _write_hashed(handle: int, data: Data) -> Written:
    """Write to an open file; size and digest of what was handed to the disk."""
    hasher, size = blake3(), 0
    with ThreadPoolExecutor(1) as helper:  # hashes a block while the disk takes it, which needs no processor
        for block in _blocks(data) if isinstance(data, bytes) else data:
            hashed = helper.submit(hasher.update, block) if len(block) > SMALL else None
            write_all(handle, block)
            if hashed is None:
                hasher.update(block)
            else:
                disk.begin(handle, size, len(block))
                hashed.result()
            size += len(block)
    return Written(size, str(hasher.hexdigest()))


def _blocks(data: bytes) -> Iterator[memoryview]:
    whole = memoryview(data)
    return (whole[start : start + BLOCK] for start in range(0, len(data), BLOCK))


def _note(path: Path, written: Written) -> None:
    record = _record.get()
    if record is not None:
        record[path] = written


def rename(source: Path, target: Path) -> None:
    """Rename, and flush both folders' lists of names, the new name first."""
    disk.rename(source, target)
    fsync_dir(target.parent)
    if source.parent != target.parent:
        fsync_dir(source.parent)


def make_dirs(path: Path) -> None:
    """Make a folder and those above it, each name flushed: what lies in a folder is lost with the folder's name.

    Raises WriteError.
    """
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        with failing(folder):
            with suppress(FileExistsError):
                disk.mkdir(folder)
            fsync_dir(folder.parent)


def fsync_file(path: Path) -> None:
    """Flush a file's bytes to the disk."""
    handle = disk.open(path)
    try:
        disk.fsync(handle)
    finally:
        disk.close(handle)


def fsync_dir(path: Path) -> None:
    """Flush a folder's list of names to the disk, so that a rename in it survives a power cut."""
    fsync_file(path)
