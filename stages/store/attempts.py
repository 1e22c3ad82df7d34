"""One attempt at a stage: a folder of its own under results/.runs/<key>, held under a lease.

attempt-0001/attempt.json   what it was built on (a resume must be built on the same)
             result/        what will be put in place
             partial-.../   checkpoints to resume from
             finding.json   why it failed, or that it was asked to stop
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from stages.errors import UserError
from stages.store import files, lease
from stages.store.digest import Written
from stages.store.holder import Holder
from stages.store.layout import Layout
from stages.store.manifest import Parent


@dataclass(frozen=True)
class Finding:
    """Why an attempt ended, and at which step if it failed in one.

    `stopped` is whether it was asked to end, `repeats` whether a rerun of the same spec meets the same end.
    """

    message: str
    step: int | None
    stopped: bool
    repeats: bool


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
        """The folder to be put in place."""
        return self.folder / "result"

    def fail(self, error: Exception) -> None:
        """Record why this attempt ended, for `stages status`."""
        told = error if isinstance(error, UserError) else UserError(f"{type(error).__name__}: {error}")
        fields = {"message": str(told), "step": told.step, "stopped": told.resumable, "repeats": told.repeats}
        text = json.dumps(fields, sort_keys=True, indent=2) + "\n"
        files.write_atomic(self.folder / "finding.json", text.encode())

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
    another run holds the key, and WriteError when the disk refuses.
    """
    run = layout.run(key)
    with lease.hold(run, ref, on_lost) as holder, files.recording() as written:
        folder = _new_folder(run)
        record = {"ref": ref, "parents": {name: parent.model_dump() for name, parent in sorted(parents.items())}}
        files.write_atomic(folder / "attempt.json", (json.dumps(record, sort_keys=True, indent=2) + "\n").encode())
        with files.failing(folder):
            files.make_dirs(folder / "result")
        attempt = Attempt(layout, ref, key, folder, dict(parents), holder, written)
        try:
            yield attempt
        except Exception as error:
            with suppress(files.WriteError):  # what ended the run is told, not this
                attempt.fail(error)
            raise


def folders(layout: Layout, key: str) -> list[Path]:
    """Attempts under `key`, newest first."""
    return sorted(layout.run(key).glob("attempt-[0-9][0-9][0-9][0-9]"), reverse=True)


def built_on(folder: Path) -> dict[str, Parent] | None:
    """What an attempt was built on; None if it was killed before it could say so."""
    try:
        raw = json.loads((folder / "attempt.json").read_bytes())
        return {str(ref): Parent.model_validate(parent) for ref, parent in raw["parents"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def finding(folder: Path) -> Finding | None:
    """Why an attempt ended, if it recorded it."""
    try:
        raw = json.loads((folder / "finding.json").read_bytes())
        step = None if raw["step"] is None else int(raw["step"])
        return Finding(str(raw["message"]), step, raw.get("stopped") is True, raw.get("repeats") is True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _new_folder(run: Path) -> Path:
    """mkdir is atomic: of two processes only one gets a number."""
    number = max((int(path.name[-4:]) for path in run.glob("attempt-[0-9][0-9][0-9][0-9]")), default=0) + 1
    while True:
        folder = run / f"attempt-{number:04d}"
        with files.failing(folder):
            try:
                files.disk.mkdir(folder)
                files.fsync_dir(run)
                return folder
            except FileExistsError:
                number += 1
