"""What may be removed under results/.runs: never what is in place, never what a run holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from stages.store import files, json_file, lease, manifest, run_record
from stages.store.json_file import JsonFileError
from stages.store.layout import Layout
from stages.store.manifest import ManifestError


class _Scale(BaseModel):
    """The one field of stage.json that tells results of one stage apart."""

    scale: str


_SCALE = TypeAdapter(_Scale)


@dataclass(frozen=True)
class Garbage:
    """A folder that may go, how many bytes it holds, and why it is not needed."""

    folder: Path
    bytes: int
    why: str


def find(layout: Layout, keep: int) -> list[Garbage]:
    """Checkpoints of stages that are in place, and all but the latest `keep` results that lie aside, for each stage."""
    runs = [run for run in sorted((layout.results / ".runs").glob("*")) if run.is_dir() and lease.holder(run) is None]
    return [*_checkpoints(runs, _keys_in_place(layout)), *_superseded(runs, keep)]


def remove(found: Garbage) -> None:
    """Remove a folder; raises LeaseError when a run has begun under its key, WriteError when the disk refuses."""
    run = next(parent for parent in found.folder.parents if parent.parent.name == ".runs")
    with lease.hold(run, f"the key {run.name[:12]}"), files.failing(found.folder):
        files.remove_tree(found.folder)


def _keys_in_place(layout: Layout) -> set[str]:
    keys = set()
    for path in layout.results.glob("[!.]*/*/*/manifest.json"):
        try:
            keys.add(manifest.read(path).key)
        except ManifestError:
            continue  # a corpus, or damaged: nothing of it is known to be finished
    return keys


def _checkpoints(runs: list[Path], finished: set[str]) -> Iterator[Garbage]:
    for run in runs:
        if run.name in finished:
            for folder in sorted([*run.glob("attempt-*/partial-[0-9]*"), *run.glob("attempt-*/.partial-*")]):
                yield Garbage(folder, _size(folder), "a checkpoint of a finished stage")


def _superseded(runs: list[Path], keep: int) -> Iterator[Garbage]:
    aside: dict[str, list[tuple[float, Path]]] = {}
    for folder in (folder for run in runs for folder in run.glob("final*")):
        aside.setdefault(_stage_of(folder), []).append((_finished(folder), folder))
    for stage, results in sorted(aside.items()):
        for _, folder in sorted(results, reverse=True)[keep:]:
            yield Garbage(folder, _size(folder), f"an earlier result of {stage}, not among the latest {keep}")


def _finished(folder: Path) -> float:
    """When a result was finished, in seconds since 1970, as its run recorded; its files' times are the last copy's.

    A result of before runs recorded it: when the last lease on its key was taken or released; 0 if nothing tells.
    """
    with suppress(JsonFileError):
        told = run_record.read(folder).finished
        if told is not None:
            return told
    return lease.last_time(folder.parent)


def _stage_of(folder: Path) -> str:
    """Stage and scale of a result: the same stage at another scale is another one's earlier result."""
    try:
        stage = manifest.read(folder / manifest.NAME).stage
        return f"{stage} at {json_file.read_as(folder / 'stage.json', _SCALE).scale}"
    except (ManifestError, JsonFileError):
        return "a result that cannot be read"


def _size(folder: Path) -> int:
    return sum((folder / file).stat().st_size for file in files.files_under(folder))
