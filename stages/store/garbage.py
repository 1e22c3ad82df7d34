"""What may be removed under results/.runs: never what is in place or leased by a run, never through a link."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.errors import UserError
from stages.store import files, lease, manifest, superseded, trees
from stages.store.layout import Layout
from stages.store.manifest import ManifestError

LINK = "a link, where no run makes one: it is removed, and what it leads to stays"
UNWANTED = "of no stage as the specs are now: an edit since, or another branch"


@dataclass(frozen=True)
class Garbage:
    """A folder that may go, how many bytes it contains, and why it is not needed."""

    folder: Path
    bytes: int
    why: str


@dataclass(frozen=True)
class Wanted:
    """The keys that the specs request, at all scales: of stages, and of phases with the stages that begin with them."""

    stages: Collection[str]
    phases: Mapping[str, Collection[str]]


def find(layout: Layout, keep: int, wanted: Wanted | None = None) -> list[Garbage]:
    """What may go: links, checkpoints and phase ends of stages that are in place, what runs left under abandoned keys,
    and for each stage all but the latest `keep` results that newer ones replaced. Without `wanted`, no key counts as
    abandoned.
    """
    links, runs = [], []
    for run in _all(layout):
        if run.is_symlink():
            links.append(run)
        elif run.is_dir() and _is_open(run) and lease.holder(run) is None:
            runs.append(run)
            links += [
                path for path in [*run.glob("*"), *run.glob("attempt-*/*")] if _is_ours(path) and path.is_symlink()
            ]
    finished = _keys_in_place(layout)
    found = [Garbage(path, path.lstat().st_size, LINK) for path in links if not path.parent.is_symlink()]
    found += _checkpoints(runs, finished)
    if wanted is not None:
        found += [*_phase_ends(runs, wanted, finished), *_abandoned(runs, wanted, finished)]
    return [*found, *_superseded(runs, keep)]


def closed(layout: Layout) -> list[Path]:
    """Folders of runs that this user may not read, as another user's, and results that cannot be read: what in them is
    unused is not known.
    """
    runs = [run for run in _all(layout) if run.is_dir() and not run.is_symlink()]
    shut = [run for run in runs if not _is_open(run)]
    return shut + [folder for folder in _aside(run for run in runs if _is_open(run)) if not _stage_of(folder)]


def _all(layout: Layout) -> list[Path]:
    """What lies in results/.runs. Raises PermissionError, of which `glob` says nothing."""
    folder = layout.results / ".runs"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _is_open(run: Path) -> bool:
    return os.access(run, os.R_OK | os.X_OK)


def remove(found: Garbage) -> None:
    """Remove a folder or a link. Raises LeaseError when a run has begun under its key, WriteError if the disk refuses.

    What lies behind a link stays, also where a folder above has been replaced by one since it was found.
    """
    if found.folder.parent.name == ".runs" and found.folder.is_symlink():
        with files.failing(found.folder):
            trees.remove_tree(found.folder)
        return
    run = next(path for path in (found.folder, *found.folder.parents) if path.parent.name == ".runs")
    with lease.hold_to_remove(run, f"the key {run.name[:12]}"), files.failing(found.folder):
        between = [path for path in found.folder.parents if run in path.parents or path == run]
        if not any(path.is_symlink() for path in between):
            trees.remove_tree(found.folder)


def _is_ours(path: Path) -> bool:
    """Whether a run, or what moves results aside, would have made something of this name."""
    return path.name.startswith(("attempt-", "final", "phase", "partial-", ".partial-", "result"))


def _keys_in_place(layout: Layout) -> set[str]:
    keys = set()
    for path in layout.results.glob("[!.]*/*/*/manifest.json"):
        try:
            keys.add(manifest.read(path).key)
        except (ManifestError, OSError):
            continue  # a corpus, or unreadable: nothing of it is known to be finished
    return keys


def _checkpoints(runs: list[Path], finished: set[str]) -> Iterator[Garbage]:
    for run in runs:
        if run.name in finished:
            for folder in sorted([*run.glob("attempt-*/partial-*"), *run.glob("attempt-*/.partial-*")]):
                if not folder.is_symlink() and not folder.parent.is_symlink():
                    yield Garbage(folder, _size(folder), "a checkpoint of a finished stage")


def _phase_ends(runs: list[Path], wanted: Wanted, finished: set[str]) -> Iterator[Garbage]:
    """What later phases begin with: an edit of these alone would go on from it, and else begins at the first phase."""
    for run in runs:
        users = set(wanted.phases.get(run.name, ()))
        if users and users <= finished:
            for folder in [*run.glob("phase"), *run.glob(".phase.*")]:
                if not folder.is_symlink():
                    yield Garbage(folder, _size(folder), "the end of a phase of finished stages")


def _abandoned(runs: list[Path], wanted: Wanted, finished: set[str]) -> Iterator[Garbage]:
    """What is left under keys that nothing asks for any more; results that newer ones replaced are another matter."""
    for run in runs:
        if run.name in finished or run.name in wanted.stages or run.name in wanted.phases:
            continue
        if not any(run.glob("final*")):
            yield Garbage(run, _size(run), UNWANTED)
            continue
        for folder in sorted([*run.glob("attempt-*"), *run.glob("phase"), *run.glob(".phase.*")]):
            if not folder.is_symlink():
                yield Garbage(folder, _size(folder), UNWANTED)


def _superseded(runs: list[Path], keep: int) -> Iterator[Garbage]:
    of_stage: dict[str, list[tuple[float, Path]]] = {}
    for folder in _aside(runs):
        if stage := _stage_of(folder):
            of_stage.setdefault(stage, []).append((superseded.finished(folder), folder))
    for stage, results in sorted(of_stage.items()):
        for _, folder in sorted(results, reverse=True)[keep:]:
            yield Garbage(folder, _size(folder), f"an earlier result of {stage}, not among the latest {keep}")


def _aside(runs: Iterable[Path]) -> Iterator[Path]:
    """Results that newer ones replaced."""
    return (folder for run in runs for folder in sorted(run.glob("final*")) if not folder.is_symlink())


def _stage_of(folder: Path) -> str:
    """Stage and scale of a result, "" where it cannot be read: at another scale it is another one's earlier result."""
    try:
        return " at ".join(superseded.stage_of(folder))
    except (UserError, OSError):
        return ""


def _size(folder: Path) -> int:
    """Bytes that go with a folder: those of its files and links, not of what links lead to."""
    if not folder.is_dir():
        return folder.lstat().st_size
    return sum(os.lstat(Path(parent, name)).st_size for parent, _, names in trees.walk(folder) for name in names)
