"""Folders with all that is in them: put in place, removed, flushed, listed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stages.errors import in_words
from stages.store import files


def moved(source: Path, target: Path) -> bool:
    """Rename a folder; False if something lies at `target` or `source` is gone, as another process may see to."""
    try:
        files.rename(source, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) or (error.errno == errno.ENOENT and not source.exists()):
            return False
        raise
    return True


def replace_folder(new: Path, target: Path) -> None:
    """Put a folder in the place of another, which is removed then; also while another process does the same.

    A cut between the two renames leaves none at `target`. Raises OSError.
    """
    old = new.with_suffix(".old")
    while not moved(new, target):
        remove_tree(old)
        moved(target, old)
    remove_tree(old)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new folder, to be filled in the block. At its end it takes the place of `folder`; after an error it is removed.

    Raises WriteError.
    """
    temporary = files.temporary_name(folder)
    with files.failing(folder):
        files.make_dirs(folder.parent)
        remove_tree(temporary)
        files.disk.mkdir(temporary)
        try:
            yield temporary
            replace_folder(temporary, folder)
        except Exception:
            with suppress(OSError):
                remove_tree(temporary)
            raise


def unfinished(folder: Path) -> str:
    """How the names begin that `replacing` gives to folders which are to take the place of `folder`."""
    return f".{folder.name}."


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it, or a file or a link in its place: what a link leads to is never touched."""
    if not folder.is_dir() or folder.is_symlink():
        if os.path.lexists(folder):
            files.disk.unlink(folder)
        return
    for parent, folders, names in walk(folder):
        for name in names:
            files.disk.unlink(Path(parent, name))
        for name in folders:
            inner = Path(parent, name)
            (files.disk.unlink if inner.is_symlink() else files.disk.rmdir)(inner)
    with suppress(FileNotFoundError):
        files.disk.rmdir(folder)


def make_empty(folder: Path) -> None:
    """An empty folder in the place of whatever was there. Raises WriteError."""
    with files.failing(folder):
        remove_tree(folder)
        files.make_dirs(folder)


def folders_in(folder: Path, unreadable: list[str]) -> list[Path]:
    """Folders in a folder and links to such, by name; none where it is not there.

    Why a folder cannot be listed is added to `unreadable`: `glob` says nothing of one that this user may not read.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(Path(one.path) for one in found if one.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        unreadable.append(in_words(error))
        return []


def fsync_tree(folder: Path) -> None:
    """Flush every file under `folder`, then the folders from the inside out."""
    for file in files_under(folder):
        files.fsync_file(folder / file)
    for parent, _, _ in walk(folder):
        files.fsync_dir(Path(parent))


def files_under(folder: Path) -> Iterator[str]:
    """Paths of the files under `folder`, relative, with forward slashes, sorted. Raises OSError as `walk`."""
    every = (Path(parent, name) for parent, _, names in walk(folder) for name in names)
    yield from sorted(path.relative_to(folder).as_posix() for path in every if path.is_file())


def walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` from the inside out; no link is followed. Raises OSError for a folder that may not be read, of which
    os.walk says nothing: what is in it would be taken to be gone.
    """

    def refused(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise error

    return os.walk(folder, topdown=False, onerror=refused)
