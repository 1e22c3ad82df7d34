"""Markers: empty files, named by key, that exist exactly when a stage is done. They are Snakemake's outputs.

With the key in the name, existence alone decides what Snakemake runs; no modification time is looked at or forged.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stages.store.layout import Layout


def place(marker: Path) -> None:
    """Say that a stage is done."""
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()


def refresh(layout: Layout, done: Iterable[Path]) -> None:
    """Make exactly the markers of `done` exist under this scale."""
    wanted = set(done)
    for marker in wanted:
        if not marker.exists():
            place(marker)
    for folder in layout.markers.glob("*"):
        for marker in folder.glob("*") if folder.is_dir() else ():
            if marker not in wanted:
                marker.unlink(missing_ok=True)
