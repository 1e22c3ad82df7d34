"""Partial checkpoints: whole or absent, with the digests of their files, in the attempt that wrote them.

partial.json also says which key a checkpoint was written under: one that was copied next to another seed's is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import TypeAdapter

from stages.store import attempts, files, json_file, trees
from stages.store.built_on import same
from stages.store.digest import digest_found, measure
from stages.store.json_file import JsonFileError
from stages.store.layout import Layout
from stages.store.manifest import Parent
from stages.store.shards import Problem

NAME = "partial.json"
_FOLDER = re.compile(r"partial-(\d{9,18})")


class Listing(json_file.Strict):
    """partial.json: the key whose folder this was written in, and file -> blake3."""

    key: str
    files: dict[str, str]


_LISTING = TypeAdapter(Listing)


def key_of(folder: Path) -> str:
    """The key in whose folder of runs a checkpoint lies, by its path; "" outside of such folders."""
    return next((path.name for path in folder.absolute().parents if path.parent.name == ".runs"), "")


def save(folder: Path, write: Callable[[Path], object]) -> Path:
    """Have `write` fill a temporary folder, list its files with their digests, then rename it to `folder`.

    What `write` writes through `files` is hashed on the way, the rest is read once. Raises WriteError.
    """
    with trees.replacing(folder) as temporary:
        _fill(temporary, write, key_of(folder))
    return folder


def _fill(folder: Path, write: Callable[[Path], object], key: str) -> None:
    with files.recording() as written:
        write(folder)
    found = {file: written.get(folder / file) or measure(folder / file) for file in trees.files_under(folder)}
    for file in found:
        if folder / file not in written:
            files.fsync_file(folder / file)
    listing = Listing(key=key, files={file: made.blake3 for file, made in found.items()})
    files.write(folder / NAME, json_file.encode(listing.model_dump()))
    for parent, _, _ in trees.walk(folder):
        files.fsync_dir(Path(parent))


def problems(folder: Path) -> list[Problem]:
    """What of a partial checkpoint is not as its list says; the list itself is the one problem where it cannot be read,
    or is that of a checkpoint of another key.
    """
    try:
        listing = json_file.read_as(folder / NAME, _LISTING)
    except JsonFileError as error:
        there = (folder / NAME).is_file()
        found = f"blake3 {digest_found(folder / NAME)} ({error.reason})" if there else "nothing"
        return [Problem(folder / NAME, "a key and a list of digests", found)]
    if listing.key != key_of(folder):
        return [Problem(folder / NAME, f"a checkpoint of key {key_of(folder)}", f"one of key {listing.key}")]
    wanted = listing.files
    now = {file: digest_found(folder / file) for file in trees.files_under(folder) if file != NAME}
    return [
        Problem(
            folder / file,
            f"blake3 {wanted[file]}" if file in wanted else "no such file",
            f"blake3 {now[file]}" if file in now else "nothing",
        )
        for file in sorted(wanted.keys() | now.keys())
        if wanted.get(file) != now.get(file)
    ]


def valid(folder: Path) -> bool:
    """Whether every file of a partial checkpoint is there with its digest."""
    return not problems(folder)


def path(attempt: attempts.Attempt, step: int) -> Path:
    """Where an attempt keeps its checkpoint after `step` steps of the stage (counted over all phases)."""
    return attempt.folder / f"partial-{step:09d}"


def step_of(folder: Path) -> int:
    """The step a partial checkpoint was written at."""
    return int(folder.name.removeprefix("partial-"))


def listed(folder: Path) -> list[Path]:
    """Partial checkpoints of one attempt, latest step first: folders of their name, and no links."""
    found = [path for path in folder.glob("partial-*") if _FOLDER.fullmatch(path.name)]
    return sorted((path for path in found if path.is_dir() and not path.is_symlink()), key=step_of, reverse=True)


def built_on(layout: Layout, key: str, parents: Mapping[str, Parent]) -> list[Path]:
    """All checkpoints of the attempts under `key` that were built on `parents`, the most steps first."""
    found = [
        partial
        for attempt in attempts.folders(layout, key)
        if (then := attempts.built_on(attempt)) is not None and same(layout, then, parents)
        for partial in listed(attempt)
    ]
    return sorted(found, key=step_of, reverse=True)


def latest(layout: Layout, key: str, parents: Mapping[str, Parent]) -> Path | None:
    """The valid checkpoint with the most steps among the attempts under `key` that were built on `parents`."""
    return next((partial for partial in built_on(layout, key, parents) if valid(partial)), None)


def prune(attempt: attempts.Attempt, keep: int) -> None:
    """Remove all but the latest `keep` checkpoints of this attempt, and once it has so many, those it has overtaken.

    A stage may take many attempts, one for each job: their checkpoints together must not fill the disk. Raises
    WriteError.
    """
    own = listed(attempt.folder)
    old = own[keep:]
    if len(own) >= keep:
        others = built_on(attempt.layout, attempt.key, attempt.parents)
        old += [path for path in others if path.parent != attempt.folder and step_of(path) <= step_of(own[keep - 1])]
    for folder in old:
        with files.failing(folder):
            trees.remove_tree(folder)


def clear(layout: Layout, key: str) -> None:
    """Remove the checkpoints of all attempts under `key`: for when the stage has finished. Raises WriteError."""
    for attempt in attempts.folders(layout, key):
        for partial in listed(attempt):
            with files.failing(partial):
                trees.remove_tree(partial)
