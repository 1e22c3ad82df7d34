"""`stages sync`: write the rules and dvc.yaml from the specs."""

from __future__ import annotations

from stages.commands.open import open_project
from stages.sync import graph, write


def run_sync(scale: str, only_check: bool) -> int:
    """Write what differs, or only say it; the exit code."""
    root, project = open_project(scale)
    if only_check:
        differing = write.unsynced(root, write.wanted(project, graph.load(root, project, scale)))
        for path in differing:
            print(f"{path}: not what the specs say. Run `stages sync --scale {scale}`.")
        return 1 if differing else 0
    for path in write.sync(root, project, scale):
        print(f"wrote {path}" if (root / path).exists() else f"removed {path}")
    return 0
