"""The specs of a git revision, in a temporary folder; the work tree and the index are left alone."""

from __future__ import annotations

import io
import os
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
    commit = _commit(root, revision)
    if commit is None:
        raise UsageError(_unknown(root, revision))
    archive = _git(root, "archive", "--format=tar", commit.decode().strip(), "--", "specs")
    if archive is None:
        raise UsageError(f"revision {revision!r} has no specs/ in {root}; there is nothing to compare with.")
    with tempfile.TemporaryDirectory(prefix="stages-diff-") as folder:
        _unpack(archive, Path(folder))
        yield Path(folder)


def is_revision(root: Path, word: str) -> bool:
    """Whether git knows a commit by this name. Raises UsageError where git is not installed."""
    return _commit(root, word) is not None


def _unknown(root: Path, revision: str) -> str:
    """Why there is no such commit, and what to do."""
    within = _run(root, "rev-parse", "--git-dir")
    if within.returncode and b"dubious ownership" in within.stderr:
        return (
            f"git does not read the repository around {root}, which is another user's: git's safe.directory allows it."
        )
    if within.returncode:
        return f"{root} is in no git repository, and revisions are read through git: `git init`, and commit the specs."
    if _commit(root, "HEAD") is None:
        return f"the git repository around {root} has no commit on this branch yet; there is nothing to compare with."
    shallow = _git(root, "rev-parse", "--is-shallow-repository") == b"true\n"
    more = " This clone is shallow: `git fetch --unshallow` brings the commits before." if shallow else ""
    return (
        f"{revision!r} is no revision of the git repository around {root}; name a commit, a branch or a tag, "
        f"and leave it out for the work tree.{more}"
    )


def _commit(root: Path, revision: str) -> bytes | None:
    return _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")


def _unpack(archive: bytes, folder: Path) -> None:
    """Write the plain files of a tar archive below `folder`, and nothing else: no links, and nothing outside it.

    tarfile's own filters for this came with Python 3.11.4; Debian 12 has 3.11.2.
    """
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            path, content = (folder / member.name).resolve(), tar.extractfile(member) if member.isfile() else None
            if content is not None and path.is_relative_to(folder.resolve()):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())


def _git(root: Path, *words: str) -> bytes | None:
    """What git prints, or None where it refuses."""
    done = _run(root, *words)
    return done.stdout if done.returncode == 0 else None


def _run(root: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Git, with its messages in English. Raises UsageError where it is not installed."""
    try:
        return subprocess.run(
            ["git", *words], cwd=root, env={**os.environ, "LC_ALL": "C"}, capture_output=True, check=False
        )
    except FileNotFoundError:
        raise UsageError("git is not installed, and revisions are read through it.") from None
