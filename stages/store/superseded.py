"""Results of a stage that lie under results/.runs: replaced by later ones, and kept until `stages gc` removes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from stages.store import json_file, lease, manifest, run_record
from stages.store.json_file import JsonFileError
from stages.store.layout import Layout
from stages.store.manifest import ManifestError


class _Scale(BaseModel):
    """The one field of stage.json that tells results of one stage apart."""

    scale: str


_SCALE = TypeAdapter(_Scale)


def folders(layout: Layout) -> Iterator[Path]:
    """Folders of results that are not in place, of all stages and scales; none of them is a link."""
    for run in sorted((layout.results / ".runs").glob("*")):
        if run.is_dir() and not run.is_symlink():
            yield from (folder for folder in sorted(run.glob("final*")) if not folder.is_symlink())


def of_stage(layout: Layout, ref: str) -> list[Path]:
    """Those of one stage at the layout's scale, the latest first."""
    found = [folder for folder in folders(layout) if stage_of(folder) == (ref, layout.scale)]
    return sorted(found, key=finished, reverse=True)


def stage_of(folder: Path) -> tuple[str, str] | None:
    """The stage ("pipeline/stage") and the scale of a result, or None where it cannot be read."""
    try:
        ref = manifest.read(folder / manifest.NAME).stage
        return ref, json_file.read_as(folder / "stage.json", _SCALE).scale
    except (ManifestError, JsonFileError):
        return None


def finished(folder: Path) -> float:
    """When a result was finished, in seconds since 1970, as its run recorded; its files' times are the last copy's.

    A result of before runs recorded it: when the last lease on its key was taken or released; 0 if nothing tells.
    """
    with suppress(JsonFileError):
        told = run_record.read(folder).finished
        if told is not None:
            return told
    return lease.last_time(folder.parent)
