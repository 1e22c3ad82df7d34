"""`stages sync`: write the rules and dvc.yaml from the specs."""

from __future__ import annotations

from stages.commands.find_project import open_graph
from stages.sync import graph, write


def run_sync(scale: str, only_check: bool) -> int:
    """Write what differs, or only say it; the exit code.

    Where the specs of a pipeline cannot be read, the rules of the others are written, its own and dvc.yaml stay as they
    are, and InvalidSpecs is raised.
    """
    layout, project, loaded = open_graph(scale)
    root, differing = layout.root, []
    if only_check:
        differing = write.unsynced(root, write.wanted(project, loaded))
        for path in differing:
            print(f"{path}: not what the specs say. Run `stages sync --scale {scale}`.")
    else:
        for path in write.sync(root, project, scale):
            print(f"wrote {path}" if (root / path).exists() else f"removed {path}")
    graph.refuse(loaded.unreadable)
    return 1 if differing else 0
