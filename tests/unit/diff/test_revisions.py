"""Revisions of git, and what is said of one that cannot be compared."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stages.diff.revision import specs_at
from stages.errors import UsageError, UserError
from tests.unit.diff.conftest import GIT, Told, commit, found, refs
from tests.unit.spec.small_project import edit

SECOND = "toy/second.yaml"


def test_two_revisions_without_touching_the_work_tree(root: Path, told: Told) -> None:
    edit(root, SECOND, "batch: 64 seq", "batch: 128 seq")
    commit(root, "two")
    (root / "specs" / SECOND).write_text("broken: [")
    assert refs(found(told, old="HEAD~1", new="HEAD")["changed"])[0] == "toy/second"
    assert (root / "specs" / SECOND).read_text() == "broken: ["


def test_an_unknown_revision(root: Path) -> None:
    with pytest.raises(UsageError, match="'nowhere' is no revision of the git repository"), specs_at(root, "nowhere"):
        pass


def refused(folder: Path, revision: str) -> str:
    with pytest.raises(UsageError) as caught, specs_at(folder, revision):
        pass
    return str(caught.value)


def test_why_there_is_no_such_revision(
    root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No repository, none with a commit, and one that has the last commits alone."""
    folder = tmp_path_factory.mktemp("plain")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent))
    assert "is in no git repository" in refused(folder, "HEAD")
    subprocess.run([*GIT, "init", "-q", "."], cwd=folder, check=True)
    assert "has no commit on this branch yet" in refused(folder, "HEAD")
    edit(root, SECOND, "batch: 64 seq", "batch: 128 seq")
    commit(root, "two")
    subprocess.run([*GIT, "clone", "-q", "--depth", "1", f"file://{root}", "short"], cwd=folder, check=True)
    said = refused(folder / "short", "HEAD~1")
    assert said.startswith("'HEAD~1' is no revision")
    assert "`git fetch --unshallow`" in said


def test_a_repository_of_another_user_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("HOME", str(root))
    assert "git's safe.directory allows it" in refused(root, "HEAD")


def test_an_option_is_no_revision(root: Path) -> None:
    with pytest.raises(UsageError, match="is no revision"), specs_at(root, "--output=gone"):
        pass
    assert not (root / "gone").exists()


def test_a_revision_without_specs(root: Path) -> None:
    subprocess.run([*GIT, "rm", "-rq", "specs"], cwd=root, check=True)
    commit(root, "gone")
    with pytest.raises(UsageError, match="has no specs/"), specs_at(root, "HEAD"):
        pass


def test_a_mistake_in_a_revision_is_told_with_its_name(root: Path, told: Told) -> None:
    edit(root, SECOND, "budget: 2B", "budget: 2 seq")
    commit(root, "bad")
    subprocess.run([*GIT, "checkout", "-q", "HEAD~1", "--", "specs"], cwd=root, check=True)
    with pytest.raises(UserError, match=r"^at revision HEAD: specs/toy/second.yaml:\d+: "):
        told()
