"""`stages upgrade`: move a project's base to the installed version, and say what was left."""

from __future__ import annotations

import difflib
from pathlib import Path

from stages import __version__
from stages.commands.find_project import find_root, loaded_with_scales
from stages.printable import printable
from stages.scaffold import record, schemas, shipped, upgrade
from stages.scaffold.upgrade import NEW, Change
from stages.spec.project import Project
from stages.sync import graph, write
from stages.sync.config import usual

SAID = {
    "wrote": "wrote {path}",
    "replaced": "replaced {path}",
    "removed": "removed {path}, which this version does without",
    "edited": "left {path}: edited here, and changed by this version; the new one is {path}{new}",
    "missing": "left out {path}: removed here, and changed by this version",
    "obsolete": "left {path}: edited here; this version does without it",
}


def run_upgrade(force: bool) -> int:
    """Upgrade the project here, then write what follows from its specs; 1 where the user has something to decide.

    Raises UserError as `upgrade.upgrade` does, and InvalidSpecs of pipelines whose rules could not be written.
    """
    root = find_root()
    if shipped.in_place(root):
        print(f"{root}: the command runs from here, so its files are those of this version ({__version__})")
        return 0
    project, kept = loaded_with_scales(root), record.known(root)
    found = upgrade.upgrade(root, force)
    for one in found:
        print(SAID[one.kind].format(path=one.path, new=NEW))
        if one.kind == "edited":
            print(_difference(one), end="")
    schemas.write(root / schemas.FOLDER)
    loaded = _sync(root, project)
    files = f"{len(found)} file{'s' * (len(found) != 1)}"
    before = f"{kept.stages} → {__version__}" if kept else f"made for {__version__}, where no version had been noted"
    print(f"{before}: {files} of what every project has differed")
    if left := [one for one in found if one.left]:
        stay = "1 left as it is" if len(left) == 1 else f"{len(left)} left as they are"
        print(f"{stay}. Take over what you want of it; `stages upgrade --force` takes all of it.")
    graph.refuse(loaded.unreadable)
    return 1 if left else 0


def _sync(root: Path, project: Project) -> graph.Graph:
    """Rules and dvc.yaml at the scale that they are of."""
    there = write.dvc_scale(root) if (root / "dvc.yaml").is_file() else usual(project.scales())
    scale = there if there in project.scales() else next(iter(project.scales()))
    for path in write.sync(root, project, scale):
        print(f"wrote {path}" if (root / path).exists() else f"removed {path}")
    return graph.readable(root, project, scale)


def _difference(change: Change) -> str:
    """From the file here to the new one, as `diff -u` shows it."""
    old, new = ((text or b"").decode(errors="replace").splitlines() for text in (change.old, change.new))
    lines = difflib.unified_diff(old, new, change.path, change.path + NEW, lineterm="")
    return "".join(f"  {printable(line)}\n" for line in lines)
