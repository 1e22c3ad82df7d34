"""The specs of a git revision, in a temporary folder; the work tree and the index are left alone."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.errors import UsageError

WORK_TREE = "work tree"


@contextmanager
def specs_at(root: Path, revision: str | None) -> Iterator[Path]:
    """A folder whose specs/ is that of `revision`; None is the work tree. Raises UsageError for an unknown one."""
    if revision is None:
        yield root
        return
    commit = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None:
        raise UsageError(
            f"{revision!r} is no revision of the git repository around {root}; name a commit, a branch or a tag, "
            f"and leave it out for the work tree."
        )
    archive = _git(root, "archive", "--format=tar", commit.decode().strip(), "--", "specs")
    if archive is None:
        raise UsageError(f"revision {revision!r} has no specs/ in {root}; there is nothing to compare with.")
    with tempfile.TemporaryDirectory(prefix="stages-diff-") as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
        yield Path(folder)


def _git(root: Path, *words: str) -> bytes | None:
    """What git prints, or None where it refuses."""
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, check=False)
    except FileNotFoundError:
        raise UsageError("git is not installed, and revisions are read through it.") from None
    return done.stdout if done.returncode == 0 else None
