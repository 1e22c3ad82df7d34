"""Results of a stage that lie under results/.runs: replaced by later ones, and kept until `stages gc` removes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from stages.errors import UserError, in_words
from stages.store import json_file, lease, manifest, run_record, trees
from stages.store.json_file import JsonFileError
from stages.store.layout import Layout


class _Scale(BaseModel):
    """The one field of stage.json that tells results of one stage apart."""

    scale: str


_SCALE = TypeAdapter(_Scale)


def of_stage(layout: Layout, ref: str) -> tuple[list[Path], list[str]]:
    """Folders of results of one stage at the layout's scale that are not in place, the latest first; none is a link.

    Also what of results/.runs cannot be read, and why: of which stage it is, is not known.
    """
    found, unreadable = list[Path](), list[str]()
    for folder in _folders(layout.results / ".runs", unreadable):
        try:
            if stage_of(folder) == (ref, layout.scale):
                found.append(folder)
        except (UserError, OSError) as error:
            unreadable.append(in_words(error))
    return sorted(found, key=finished, reverse=True), unreadable


def _folders(runs: Path, unreadable: list[str]) -> Iterator[Path]:
    for run in trees.folders_in(runs, unreadable):
        if not run.is_symlink():
            found = (folder for folder in trees.folders_in(run, unreadable) if folder.name.startswith("final"))
            yield from (folder for folder in found if not folder.is_symlink())


def stage_of(folder: Path) -> tuple[str, str]:
    """The stage ("pipeline/stage") and the scale of a result. Raises ManifestError, JsonFileError, OSError."""
    ref = manifest.read(folder / manifest.NAME).stage
    return ref, json_file.read_as(folder / "stage.json", _SCALE).scale


def finished(folder: Path) -> float:
    """When a result was finished, in seconds since 1970, as its run recorded; its files' times are the last copy's.

    A result of before runs recorded it: when the last lease on its key was taken or released; 0 if nothing tells.
    """
    with suppress(JsonFileError, OSError):
        recorded = run_record.read(folder).finished
        if recorded is not None:
            return recorded
    return lease.last_time(folder.parent)
