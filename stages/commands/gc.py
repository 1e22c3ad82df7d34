"""`stages gc`: list what may go under results/.runs, and remove it on request."""

from __future__ import annotations

from pathlib import Path

from stages.commands.find_project import find_root
from stages.errors import UsageError
from stages.printable import printable
from stages.spec.key import phase_keys
from stages.spec.project import Project
from stages.store import garbage
from stages.store.garbage import Wanted
from stages.store.layout import Layout
from stages.sync import graph
from stages.sync.config import DEFAULT_SCALE


def collect(dry_run: bool, delete: bool, keep: int) -> None:
    """List folders with the bytes that each frees and why it may go; with `delete`, remove them.

    Raises UsageError, LeaseError, and what a spec that cannot be resolved raises: then which keys it asks for is
    not known, and nothing is removed.
    """
    if dry_run == delete:
        given = "both --dry-run and --delete" if delete else "neither --dry-run nor --delete"
        raise UsageError(f"gc: found {given}; allowed: --dry-run (list) or --delete (remove).")
    root = find_root()
    layout = Layout(root, DEFAULT_SCALE)
    found = garbage.find(layout, keep, _wanted(root))
    for item in found:
        if delete:
            garbage.remove(item)
        print(f"{item.bytes:>15,} bytes  {printable(f'{item.folder.relative_to(root)}: {item.why}')}")
    if closed := garbage.closed(layout):
        print(
            f"left out, since it cannot be read: {printable(str(closed[0].relative_to(root)))}"
            f"{f' and {len(closed) - 1} more' if closed[1:] else ''}"
        )
    total = sum(item.bytes for item in found)
    folders = f"{len(found)} folder{'s' if len(found) != 1 else ''}"
    print(f"{total:>15,} bytes in {folders} {'removed' if delete else 'would go'}")


def _wanted(root: Path) -> Wanted:
    """Keys of all stages, and of the phases that they begin with, at every scale."""
    project, stages, phases = Project.load(root), set[str](), dict[str, set[str]]()
    for scale in project.scales():
        loaded = graph.load(root, project, scale)
        stages |= set(loaded.keys.values())
        for ref, stage in loaded.stages.items():
            chained = phase_keys(stage, loaded.keys)
            for key in chained if stage.trunk is not None else chained[:-1]:
                phases.setdefault(key, set()).add(loaded.keys[ref])
    return Wanted(stages, phases)
