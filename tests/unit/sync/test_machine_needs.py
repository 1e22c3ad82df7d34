"""What Snakemake needs of a machine is refused in a line: notes that may be read, and disk space."""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake.settings.types import SharedFSUsage

from stages.errors import UserError
from stages.sync import machine_needs

ROOT = Path(__file__).resolve().parents[3]
MARKER = "results/.markers/mini/toy/first.0a1b"


def note(root: Path, name: str) -> Path:
    """As Snakemake writes one on a file that a job made."""
    path = root / machine_needs.NOTES / urlsafe_b64encode(name.encode()).decode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return path


def closed(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Only another user may read it (root, who may run this, is refused nothing)."""
    there = os.access
    monkeypatch.setattr(os, "access", lambda asked, mode: asked != path and there(asked, mode))


def test_notes_on_a_file_that_is_there_have_to_be_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed(monkeypatch, note(tmp_path, MARKER))
    note(tmp_path, "other")
    (tmp_path / machine_needs.NOTES / "@no-name").touch()
    machine_needs.refuse_unreadable_notes(tmp_path)  # on a marker that is gone: Snakemake does not read them
    (tmp_path / MARKER).parent.mkdir(parents=True)
    (tmp_path / MARKER).touch()
    with pytest.raises(UserError, match=rf"its notes on {MARKER} there, which are another user's.*chgrp -R GROUP"):
        machine_needs.refuse_unreadable_notes(tmp_path)


def test_a_project_in_which_nothing_was_run_has_no_notes(tmp_path: Path) -> None:
    machine_needs.refuse_unreadable_notes(tmp_path)


@pytest.mark.parametrize(
    ("blocks", "files", "left", "full"), [(0, 9, 9, True), (9, 9, 0, True), (9, 9, 9, False), (9, 0, 0, False)]
)
def test_the_disk_to_which_snakemake_writes_has_to_have_room(
    blocks: int, files: int, left: int, full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for bytes, and for a file where a file system counts them."""
    disk = SimpleNamespace(f_bavail=blocks, f_frsize=1 << 20, f_files=files, f_favail=left)
    monkeypatch.setattr(os, "statvfs", lambda folder: disk if folder == tmp_path / ".snakemake" else None)
    if not full:
        return machine_needs.refuse_full_disk(tmp_path)
    with pytest.raises(UserError, match=rf"^{tmp_path}/.snakemake: its disk is full, and Snakemake writes there. Not"):
        machine_needs.refuse_full_disk(tmp_path)


def test_snakemake_needs_neither_home_nor_space_for_temporary_files() -> None:
    """Its cache of rules from elsewhere lies below HOME, and its scheduler `milp` writes to TMPDIR: a run that lasts
    for weeks would end with Snakemake's traceback where one of them may not be written to.
    """
    profile = yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text())
    everything = {one.name.lower().replace("_", "-") for one in SharedFSUsage}
    assert everything - set(profile["shared-fs-usage"]) == {"source-cache"}
    assert profile["scheduler"] == "greedy"
