"""Revisions of git, and what is said of one that cannot be compared."""

from __future__ import annotations

import subprocess

import pytest

from stages.diff.revision import specs_at
from stages.errors import UsageError, UserError
from tests.unit.diff.conftest import GIT, commit, found, refs
from tests.unit.spec.small_project import edit

PIPELINE, FIRST, SECOND = "toy/pipeline.yaml", "toy/first.yaml", "toy/second.yaml"


def test_two_revisions_without_touching_the_work_tree(root, told):
    edit(root, SECOND, "batch: 64 seq", "batch: 128 seq")
    commit(root, "two")
    (root / "specs" / SECOND).write_text("broken: [")
    assert refs(found(told, old="HEAD~1", new="HEAD")["changed"])[0] == "toy/second"
    assert (root / "specs" / SECOND).read_text() == "broken: ["


def test_an_unknown_revision(root):
    with pytest.raises(UsageError, match="'nowhere' is no revision of the git repository"), specs_at(root, "nowhere"):
        pass


def test_an_option_is_no_revision(root):
    with pytest.raises(UsageError, match="is no revision"), specs_at(root, "--output=gone"):
        pass
    assert not (root / "gone").exists()


def test_a_revision_without_specs(root):
    subprocess.run([*GIT, "rm", "-rq", "specs"], cwd=root, check=True)
    commit(root, "gone")
    with pytest.raises(UsageError, match="has no specs/"), specs_at(root, "HEAD"):
        pass


def test_a_mistake_in_a_revision_is_told_with_its_name(root, told):
    edit(root, SECOND, "budget: 2B", "budget: 2 seq")
    commit(root, "bad")
    subprocess.run([*GIT, "checkout", "-q", "HEAD~1", "--", "specs"], cwd=root, check=True)
    with pytest.raises(UserError, match=r"^at revision HEAD: specs/toy/second.yaml:\d+: "):
        told()
