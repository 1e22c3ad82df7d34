"""The report's folder: written whole next to its place, then moved there; only an older report is replaced."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.errors import UsageError, UserError
from stages.printable import printable
from stages.report.html import page
from stages.report.html.page import Subject

MARK = "stages-report.txt"  # in every folder that this module wrote
SAID = "Written by `stages report`, which replaces this folder when it is run again.\n"
KEPT = ("results", "specs", "rules", "profiles", "slurm", ".git", ".dvc")
LOG = 200_000  # bytes of a log that are copied: its end


def write(folder: Path, subjects: Sequence[Subject], head: Mapping[str, Any]) -> int:
    """Write all pages and logs; returns their bytes. Raises UsageError where something else is in place."""
    refuse(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _fill(made, subjects, head)
            size = sum(path.stat().st_size for path in made.iterdir())
            made.chmod(0o755)
            _exchange(made, folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{folder}: the report could not be written: {error.strerror or error}.") from None
    return size


def refuse_inside(folder: Path, root: Path) -> None:
    """Raise UsageError for a place in those directories of the project whose files others write."""
    place = folder.resolve()
    for name in KEPT:
        if place.is_relative_to((root / name).resolve()):
            raise UsageError(f"--out: {folder} is inside {name}/; allowed: a new folder elsewhere, such as report.")


def refuse(folder: Path) -> None:
    """Raise UsageError for a place that contains anything but an earlier report."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"--out: {folder} is a file or a link; allowed: a new folder, or an earlier report's.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise UsageError(f"--out: {folder} has other files; allowed: a new folder, or an earlier report's.")


def _fill(made: Path, subjects: Sequence[Subject], head: Mapping[str, Any]) -> None:
    (made / MARK).write_text(SAID, encoding="utf-8")
    (made / "index.html").write_text(page.index(subjects, head), encoding="utf-8")
    for subject in subjects:
        for view in subject.views:
            if view.log is not None:
                (made / f"{view.anchor}.log.txt").write_text(end(view.log), encoding="utf-8")
        (made / subject.file).write_text(page.render(subject, head), encoding="utf-8")


def end(log: Path) -> str:
    """The end of a log as text, without control characters; how much is left out before it is stated."""
    with open(os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - LOG))
        lines = file.read(LOG).decode(errors="replace").splitlines()
    left = [f"(the first {size - LOG:,} bytes are left out)"] if size > LOG else []
    return "".join(f"{printable(line)}\n" for line in [*left, *lines])


def _exchange(made: Path, folder: Path) -> None:
    """Put the new folder in place; the old one is moved away first and removed last."""
    if not folder.exists():
        made.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    folder.rename(old / "report")
    made.rename(folder)
    shutil.rmtree(old)
