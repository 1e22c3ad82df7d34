"""Whether a result can be put in place by a rename, which no file system does across its border, nor for any user."""

from __future__ import annotations

import os
import re
from pathlib import Path

from stages.errors import UserError
from stages.store import manifest
from stages.store.layout import Layout
from stages.store.manifest import ManifestError

MOUNTS = Path("/proc/self/mountinfo")
_OCTAL = re.compile(r"\\(\d{3})")  # how a blank in a mount point is written there


def refuse_elsewhere(layout: Layout, ref: str, key: str) -> None:
    """Raise UserError where a run's folder or the place of its result is a link, where they are on two file systems,
    where something that is no folder lies in the way of either, and where this user may not write.

    To be checked before step 1: otherwise a stage would be trained to its end and could not be put in place.
    """
    run, place = layout.run(key), layout.stage(ref)
    for path in (layout.results, run.parent, run, place.parent.parent, place.parent, place):
        if os.path.lexists(path) and not path.is_dir():
            raise UserError(f"{path}: found a file or a link that leads nowhere, expected a folder. Move it away.")
    refuse_link(place)
    if run.is_symlink():
        raise UserError(
            f"{run}: is a link to {run.resolve()}, expected a folder: checkpoints are removed, and links are never "
            "followed for that. Remove the link, and run the stage again."
        )
    if mount(run) != mount(place.parent):
        raise UserError(
            f"{run} and {place.parent} are on different file systems: a result could not be put in place by a rename. "
            f"Keep all of {layout.results} on one (that folder itself may be a link), and run the stage again."
        )
    _refuse_unwritable(layout, place)


def aside(layout: Layout, place: Path) -> Path:
    """Where a result goes that another one replaces: to the runs of its key, or of none where it does not say one."""
    try:
        return layout.run(manifest.read(place / manifest.NAME).key)
    except ManifestError:
        return layout.run("unknown")


def _refuse_unwritable(layout: Layout, place: Path) -> None:
    """A folder that goes to another one has to be writable itself: its entry `..` changes."""
    folders = [place.parent, *((place, aside(layout, place)) if place.is_dir() else ())]
    for folder in map(_there, folders):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(
                f"{folder}: may not be written to by this user, so the result could not be put in place at the end. "
                "Nothing was run. Make it writable (`chmod -R g+w` where users of a group share results, and `umask "
                "002` before their next runs), and run the stage again."
            )


def refuse_link(place: Path) -> None:
    """Raise UserError where the place of a result is a link: aside it may lead nowhere, and would not be put back."""
    if place.is_symlink():
        raise UserError(
            f"{place}: is a link to {place.resolve()}, expected a folder: a result that another one replaces is moved "
            "aside and put back after a change of mind, and links are not followed for that. Remove the link, or put "
            "the folder itself there, and run the stage again."
        )


def mount(path: Path) -> tuple[int, str]:
    """The file system of a path, or of the nearest folder above it that is there: its device and its mount point.

    Two mounts of one device count as two: a rename between them is refused too. Without Linux's list of mounts, the
    device alone.
    """
    there = _there(path)
    points = (point for point in _mount_points() if there == point or point in there.parents)
    return there.stat().st_dev, max(map(str, points), key=len, default="")


def _there(path: Path) -> Path:
    """A path, or the nearest folder above it that is there."""
    there = path.resolve()
    while not there.exists():
        there = there.parent
    return there


def _mount_points() -> list[Path]:
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    fields = (line.split(" ", 5) for line in lines)
    return [Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), field[4])) for field in fields if len(field) > 4]
