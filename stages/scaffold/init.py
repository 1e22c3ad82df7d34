"""`stages init`: a new project, made next to its place and put there by one rename, so it is whole or not there."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from stages import __version__
from stages.errors import UsageError, UserError
from stages.scaffold import contents, record, schemas
from stages.spec.project import Project
from stages.store import files, here, leftovers, trees
from stages.store.digest import digest_bytes
from stages.sync import write
from stages.sync.config import DEFAULT_SCALE

MARK = ".stages-init."  # how the name of a project that is being made begins


def create(target: Path, example: str) -> Path:
    """Make the project at `target`, a path where there is nothing or an empty directory; returns its absolute path.

    Raises UsageError where it cannot be made there, WriteError where the disk refuses.
    """
    place = _place(target)
    aside = place.parent / f"{MARK}{here.process()}"
    with files.failing(place):
        files.make_dirs(place.parent)
        for left in leftovers.of_dead(place.parent, MARK):
            trees.remove_tree(left)
        try:
            _fill(aside, example)
            trees.fsync_tree(aside)
            _put(aside, place)
        finally:
            trees.remove_tree(aside)
    return place


def inside(folder: Path, name: str) -> Path | None:
    """The nearest directory above that contains `name`."""
    return next((above for above in folder.parents if (above / name).exists()), None)


def _place(target: Path) -> Path:
    """The absolute path of the new project. Raises UsageError for what is there, or where it would lie."""
    place = Path(os.path.abspath(target))
    if os.path.lexists(place):
        _refuse_unless_empty(place, target)
    project = inside(place, "specs/scales")
    if project is not None:
        raise UsageError(f"DIR: {target} is inside the project {project}; allowed: a directory outside of any project.")
    blocked = next((above for above in place.parents if above.exists()), place.parent)
    if not blocked.is_dir():
        raise UsageError(f"DIR: {target}: {blocked} is not a directory; name a path below one.")
    return place


def _refuse_unless_empty(place: Path, target: Path) -> None:
    what = "a link" if place.is_symlink() else None if place.is_dir() else "a file"
    if what is None and any(place.iterdir()):
        what = "a directory with files in it"
    elif what is None and place == Path.cwd():
        raise UsageError(
            f"DIR: {target} is the current directory, which a project cannot replace; allowed: a path where there is "
            f"nothing, or another empty directory. Go up first: cd .. && stages init {shlex.quote(place.name)}"
        )
    if what is not None:
        raise UsageError(f"DIR: {target} is {what}; allowed: a path where there is nothing, or an empty directory.")


def _fill(root: Path, example: str) -> None:
    """Write everything that a project contains into a new directory."""
    base = contents.base()
    for path, content in {**contents.example(example), **base}.items():
        files.make_dirs((root / path).parent)
        files.write(root / path, content, flush=False)
    for path in contents.EXECUTABLE:
        (root / path).chmod(0o755)
    schemas.write(root / schemas.FOLDER)
    write.sync(root, Project.load(root), DEFAULT_SCALE)
    digests = {path: digest_bytes(content) for path, content in base.items()}
    files.write(root / record.NAME, record.encoded(__version__, digests), flush=False)
    if inside(root, ".git") is None:
        init_git(root)


def init_git(root: Path) -> None:
    """Make a git repository, where git is installed. Raises UserError with what git says."""
    git = shutil.which("git")
    if git is None:
        return
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run([git, "init", "--quiet"], cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"git init failed: {done.stderr.strip()}")


def _put(aside: Path, place: Path) -> None:
    """Rename into place; an empty directory there is replaced. Raises UsageError where something has come meanwhile."""
    if not trees.moved(aside, place):
        raise UsageError(f"DIR: {place} is not empty any more; nothing was written.")
