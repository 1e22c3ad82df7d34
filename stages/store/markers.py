"""Markers: empty files, named by key, that exist exactly when a stage is done. They are Snakemake's outputs.

With the key in the name, existence alone decides what Snakemake runs; no modification time is read or changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stages.errors import UserError
from stages.store import files, trees
from stages.store.layout import Layout


def place(marker: Path) -> None:
    """Say that a stage is done. Raises WriteError."""
    if not marker.exists():
        with files.failing(marker):
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()


def expect(awaited: Path | None, marker: Path, what: str) -> None:
    """Raise UserError where Snakemake awaits another marker: `what` was edited after the graph was built.

    It would be made all the same, but not what was requested, and Snakemake would call it a failure.
    """
    if awaited is not None and awaited.name != marker.name:
        raise UserError(
            f"{what}: edited, or something before it, since Snakemake was started: it awaits {awaited.name}, and now "
            f"this would be {marker.name}. Nothing was run. Start Snakemake again for what the specs say now."
        )


def refresh(layout: Layout, done: Iterable[Path]) -> None:
    """Make exactly the markers of `done` exist under this scale."""
    wanted = set(done)
    for marker in wanted:
        place(marker)
    for folder in layout.markers.glob("*"):
        for marker in folder.glob("*") if folder.is_dir() and not folder.is_symlink() else ():
            if marker not in wanted:
                with files.failing(marker):
                    trees.remove_tree(marker)
