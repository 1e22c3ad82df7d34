"""One attempt at a stage: a folder of its own under results/.runs/<key>, held under a lease.

attempt-0001/attempt.json   what it was built on (a resume must be built on the same)
             result/        what will be put in place
             partial-.../   checkpoints to resume from
             finding.json   why it failed, or that it was stopped
             crash.txt      where it was when a fatal signal ended it
             reserve        disk space for finding.json, while it runs
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, TypeAdapter

from stages.errors import UserError, for_user
from stages.store import crash, files, json_file, lease, mounts, trees
from stages.store.digest import Written
from stages.store.holder import Holder
from stages.store.json_file import JsonFileError, MissingFileError
from stages.store.layout import Layout
from stages.store.manifest import Parent


@dataclass(frozen=True)
class Finding:
    """Why an attempt ended, and at which step if it failed in one.

    `stopped` is whether it was stopped on request, `repeats` whether a rerun of the same spec meets the same end.
    """

    message: str
    step: Annotated[int, Field(ge=0)] | None
    stopped: bool = False
    repeats: bool = False


class _Record(BaseModel):
    """attempt.json: what is attempted, at which scale, and on what parents. Those of earlier versions have no scale."""

    ref: str
    scale: str = ""
    parents: dict[str, Parent]


RECORD, FINDING, RESERVE, RESULT = "attempt.json", "finding.json", "reserve", "result"
LONGEST = 10_000  # characters of a message
SPACE = 16 << 10  # bytes that are kept for a finding, so that it can be written when the disk is full
_NAME = re.compile(r"attempt-(\d{4}|[1-9]\d{4,8})")
_RECORD, _FINDING = TypeAdapter(_Record), TypeAdapter(Finding)


@dataclass(frozen=True)
class Attempt:
    """A run in progress. Writes go into `folder` only; `result` is what `finish` puts in place."""

    layout: Layout
    ref: str
    key: str
    folder: Path
    parents: Mapping[str, Parent]
    holder: Holder
    written: Mapping[Path, Written]  # what was meant, where `files` wrote it

    @property
    def result(self) -> Path:
        """The folder to be put in place. Raises UserError for a link in it: what is written is written here."""
        folder = self.folder / RESULT
        inside = (Path(parent, name) for parent, *found in trees.walk(folder) for name in chain(*found))
        for path in (self.folder, folder, *inside):
            if path.is_symlink():
                raise UserError(
                    f"{path}: is a link to {path.resolve()}, which its run did not make: nothing is written through "
                    "it. Remove the link, and run the stage again: it goes on from its last checkpoint."
                )
        return folder

    def fail(self, error: Exception) -> None:
        """Record why this attempt ended, for `stages status`; nothing where its folder was moved away or removed: what
        would be made again there would be in the way when the folder is put back.
        """
        if not self.folder.is_dir():
            return
        reported = for_user(error) or UserError(f"{type(error).__name__}: {error}")
        fields = {
            "message": str(reported),
            "step": reported.step,
            "stopped": reported.resumable,
            "repeats": reported.repeats,
        }
        self.free_reserve()
        json_file.write(self.folder / FINDING, fields)

    def free_reserve(self) -> None:
        """Give back the disk space that was kept for a finding."""
        with suppress(OSError):
            files.disk.unlink(self.folder / RESERVE)

    def check(self) -> None:
        """Raise LeaseError when a later run has taken over: to be called before a checkpoint is written."""
        lease.check(self.layout.run(self.key), self.holder)

    def claim(self) -> None:
        """Take the right to finish; raises LeaseError when a later run has the key."""
        lease.claim(self.layout.run(self.key), self.holder)


@contextmanager
def start(
    layout: Layout, ref: str, key: str, parents: Mapping[str, Parent], on_lost: Callable[[], None] = lambda: None
) -> Iterator[Attempt]:
    """Begin an attempt at `ref` under `key`. An error that leaves the block is recorded as the attempt's finding.

    `on_lost` is called, in a thread, when another run has taken over. Raises HeldError, naming host and process, when
    another run holds the key, WriteError when the disk refuses, and UserError where the result could not be put in
    place.
    """
    mounts.refuse_elsewhere(layout, ref, key)
    run = layout.run(key)
    with lease.hold(run, ref, on_lost) as holder, files.recording() as written:
        folder = _new_folder(run)
        built_on = {name: parent.model_dump() for name, parent in sorted(parents.items())}
        record = {"ref": ref, "scale": layout.scale, "parents": built_on}
        json_file.write(folder / RECORD, record)
        with files.failing(folder):
            files.make_dirs(folder / RESULT)
        files.write(folder / RESERVE, os.urandom(SPACE), flush=False)  # a file system may keep zeros nowhere
        attempt = Attempt(layout, ref, key, folder, dict(parents), holder, written)
        try:
            with crash.recorded(folder):
                yield attempt
            attempt.free_reserve()
        except Exception as error:
            with suppress(files.WriteError):  # the error that ended the run is shown, not this
                attempt.fail(error)
            raise


def folders(layout: Layout, key: str) -> list[Path]:
    """Attempts under `key`, newest first: folders, and no links."""
    found = _numbered(layout.run(key))
    newest = (found[number] for number in sorted(found, reverse=True))
    return [path for path in newest if path.is_dir() and not path.is_symlink()]


def built_on(folder: Path) -> dict[str, Parent] | None:
    """What an attempt was built on; None if it was killed before it could say so, or its record cannot be read."""
    with suppress(JsonFileError):
        return json_file.read_as(folder / RECORD, _RECORD).parents
    return None


def of(folder: Path, scale: str) -> str | None:
    """The stage that an attempt at this scale is one at; None for others, and where that cannot be known."""
    with suppress(JsonFileError, OSError):
        record = json_file.read_as(folder / RECORD, _RECORD)
        return record.ref if record.scale == scale else None
    return None


def finding(folder: Path) -> Finding | None:
    """Why an attempt ended, if it recorded it; that the record cannot be read, where it cannot."""
    try:
        found = json_file.read_as(folder / FINDING, _FINDING)
        return replace(found, message=found.message[:LONGEST])
    except MissingFileError:
        return None
    except JsonFileError as error:
        return Finding(f"ended, and why cannot be read: {error}", None, stopped=False, repeats=False)


def _numbered(run: Path) -> dict[int, Path]:
    """What has the name of an attempt, by its number. Raises PermissionError, on which `glob` says nothing."""
    try:
        names = [(path, _NAME.fullmatch(path.name)) for path in run.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {int(name[1]): path for path, name in names if name}


def _new_folder(run: Path) -> Path:
    """mkdir is atomic: of two processes only one gets a number."""
    number = max(_numbered(run), default=0) + 1
    while True:
        folder = run / f"attempt-{number:04d}"
        with files.failing(folder):
            try:
                files.disk.mkdir(folder)
                files.fsync_dir(run)
                return folder
            except FileExistsError:
                number += 1
