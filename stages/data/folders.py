"""The command that prepares a folder of results/<scale>/data: errors about one say it, for the scale that it is of."""

from __future__ import annotations

from pathlib import Path


def preparing(folder: Path) -> str:
    """`stages data NAME --scale SCALE`."""
    return f"stages data {folder.name} --scale {folder.absolute().parent.parent.name}"
