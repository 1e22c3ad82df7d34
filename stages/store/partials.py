"""Partial checkpoints: whole or absent, with the digests of their files, in the attempt that wrote them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from stages.store import attempts, files
from stages.store.layout import Layout
from stages.store.manifest import Parent

NAME = "partial.json"


def save(folder: Path, write: Callable[[Path], None]) -> Path:
    """Have `write` fill a temporary folder, list its files with their digests, then rename it to `folder`."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        write(temporary)
        listing = {file: files.digest_file(temporary / file) for file in files.files_under(temporary)}
        files.write_atomic(temporary / NAME, (json.dumps(listing, sort_keys=True, indent=2) + "\n").encode())
        files.fsync_tree(temporary)
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    files.fsync_dir(folder.parent)
    return folder


def valid(folder: Path) -> bool:
    """Whether every file of a partial checkpoint is there with its digest."""
    try:
        listing = json.loads((folder / NAME).read_bytes())
        return all(files.digest_file(folder / file) == digest for file, digest in listing.items())
    except (OSError, ValueError, AttributeError):
        return False


def path(attempt: attempts.Attempt, step: int) -> Path:
    """Where an attempt keeps its checkpoint after `step` steps of the stage (counted over all phases)."""
    return attempt.folder / f"partial-{step:09d}"


def step_of(folder: Path) -> int:
    """The step a partial checkpoint was written at."""
    return int(folder.name.removeprefix("partial-"))


def listed(folder: Path) -> list[Path]:
    """Partial checkpoints of one attempt, latest step first."""
    return sorted(folder.glob("partial-[0-9]*"), key=step_of, reverse=True)


def latest(layout: Layout, key: str, parents: Mapping[str, Parent]) -> Path | None:
    """The valid checkpoint with the most steps among the attempts under `key` that were built on `parents`."""
    found = [
        partial
        for attempt in attempts.folders(layout, key)
        if attempts.built_on(attempt) == dict(parents)
        for partial in listed(attempt)
    ]
    return next((partial for partial in sorted(found, key=step_of, reverse=True) if valid(partial)), None)


def prune(attempt: attempts.Attempt, keep: int) -> None:
    """Remove all but the latest `keep` checkpoints of this attempt."""
    for old in listed(attempt.folder)[keep:]:
        shutil.rmtree(old)


def clear(layout: Layout, key: str) -> None:
    """Remove the checkpoints of all attempts under `key`: for when the stage has finished."""
    for attempt in attempts.folders(layout, key):
        for partial in listed(attempt):
            shutil.rmtree(partial)
