"""`stages record-dvc`, where DVC does not do its part."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stages.commands import record
from stages.errors import UserError
from stages.spec.project import Project
from stages.sync import write
from tests.unit.spec import small_project


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which nothing is left to be done."""
    small_project.write(tmp_path)
    (tmp_path / "rules").mkdir()
    (tmp_path / ".dvc").mkdir()
    write.sync(tmp_path, Project.load(tmp_path), "mini")
    for judge in ("judge", "judge_corpora"):
        monkeypatch.setattr(record, judge, lambda *given, **named: {})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("printed", "why"),
    [
        ("ERROR: unexpected error - [Errno 28] No space left\n\nHaving any troubles?\n", "unexpected error - .* left$"),
        ("No module named dvc\n", "No module named dvc$"),
        ("", "it printed nothing$"),
    ],
)
def test_why_dvc_failed_is_said_in_its_own_words(
    printed: str, why: str, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(words: list[str], **named: object) -> subprocess.CompletedProcess[str]:
        assert "--quiet" not in words, "then DVC does not say why it fails"
        return subprocess.CompletedProcess(words, 255, "", printed)

    monkeypatch.setattr(record.subprocess, "run", failed)
    with pytest.raises(UserError, match=f"dvc commit failed with exit code 255: {why}"):
        record.record()


def test_without_a_repository_of_dvc_there_is_nothing_to_record_in(finished: Path) -> None:
    (finished / ".dvc").rmdir()
    with pytest.raises(
        UserError, match=r"no DVC repository here or above, .* `dvc init`; `--no-scm` where there is no"
    ):
        record.record()


def test_results_behind_a_link_are_not_given_to_dvc_which_does_not_follow_it(
    finished: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (finished / "results").symlink_to(tmp_path_factory.mktemp("disk"))
    with pytest.raises(UserError, match=r"results: is a link to .*disk0, and DVC records nothing outside of the proj"):
        record.record()


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b"stages: {", b"\xf2\x00", None], ids=["empty", "list", "cut", "bytes", "folder"]
)
def test_a_damaged_lock_of_dvc_is_told_of_with_what_to_do(damage: bytes | None, finished: Path) -> None:
    lock = finished / "dvc.lock"
    lock.mkdir() if damage is None else lock.write_bytes(damage)
    with pytest.raises(
        UserError, match=r"dvc.lock: is damaged. Put back .*`git checkout -- dvc.lock`\), or move it away"
    ):
        record.record()


def test_a_lock_of_dvc_that_is_whole_is_added_to(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (finished / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    monkeypatch.setattr(record.subprocess, "run", lambda words, **named: subprocess.CompletedProcess(words, 0, "", ""))
    record.record()
