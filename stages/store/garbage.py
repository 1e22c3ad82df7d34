"""What may be removed under results/.runs: never what is in place, never what a run holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.store import files, lease, manifest
from stages.store.layout import Layout
from stages.store.manifest import ManifestError


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
    try:
        return float(json.loads((folder / "run.json").read_bytes())["finished"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        return max(float(json.loads(line)["time"]) for line in (folder.parent / lease.LOG).read_bytes().splitlines())
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _stage_of(folder: Path) -> str:
    """Stage and scale of a result: the same stage at another scale is another one's earlier result."""
    try:
        stage = manifest.read(folder / manifest.NAME).stage
        return f"{stage} at {json.loads((folder / 'stage.json').read_bytes())['scale']}"
    except (ManifestError, OSError, ValueError, KeyError, TypeError):
        return "a result that cannot be read"


def _size(folder: Path) -> int:
    return sum((folder / file).stat().st_size for file in files.files_under(folder))
