"""The file system of a path, from the list of mounts that Linux keeps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stages.errors import UserError
from stages.store import mounts
from stages.store.layout import Layout
from tests.unit.store.conftest import A, Run

B, REST = "b" * 32, "rw,relatime shared:1 - ext4 /dev/a rw"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mountinfo"
    monkeypatch.setattr(mounts, "MOUNTS", path)
    return path


def point(path: Path) -> str:
    return mounts.mount(path)[1]


def test_the_longest_mount_point_above_a_path_is_its_own(table: Path, tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    blank = str(tmp_path / "a b").replace(" ", "\\040")
    table.write_text(f"21 1 8:1 / / {REST}\n22 21 8:1 / {tmp_path} {REST}\n23 22 8:1 /x {blank} {REST}\n")
    assert point(tmp_path) == str(tmp_path)
    assert point(tmp_path / "a b") == str(tmp_path / "a b"), "a blank is written as an octal number"
    assert point(tmp_path / "a b/not/yet/there") == str(tmp_path / "a b")
    assert point(tmp_path / "a") == str(tmp_path)
    assert point(Path("/")) == "/"


def test_a_path_is_on_the_device_of_the_nearest_folder_there_is(table: Path, tmp_path: Path) -> None:
    table.write_text(f"21 1 8:1 / / {REST}\n")
    assert mounts.mount(tmp_path / "not/yet") == mounts.mount(tmp_path) == (tmp_path.stat().st_dev, "/")


def test_lines_that_are_cut_short_count_for_nothing(table: Path, tmp_path: Path) -> None:
    table.write_text(f"\n21 1 8:1\n21 1 8:1 /\n22 21 8:1 / {tmp_path}\n")
    assert point(tmp_path) == str(tmp_path)


def test_only_blanks_part_the_fields(table: Path, tmp_path: Path) -> None:
    """Linux spells a blank, a tab and a line break as numbers, and no other space."""
    place = tmp_path / "a\u00a0b"
    place.mkdir()
    table.write_text(f"21 1 8:1 / / {REST}\n22 21 8:1 / {place} {REST}\n", encoding="utf-8")
    assert point(place) == str(place)


def test_bytes_that_are_no_text_are_no_matter(table: Path, tmp_path: Path) -> None:
    table.write_bytes(b"21 1 8:1 / /mnt/\xff " + REST.encode() + f"\n22 21 8:1 / {tmp_path} {REST}\n".encode())
    assert point(tmp_path) == str(tmp_path)


def test_without_the_list_the_device_decides(table: Path, tmp_path: Path) -> None:
    assert mounts.mount(tmp_path) == (tmp_path.stat().st_dev, "")


def test_each_refusal_says_what_is_there_and_what_to_do(table: Path, layout: Layout) -> None:
    run, place = layout.run(A), layout.stage("toy/one")
    run.parent.mkdir(parents=True)
    run.write_bytes(b"")
    with pytest.raises(UserError) as caught:
        mounts.refuse_elsewhere(layout, "toy/one", A)
    assert str(caught.value) == f"{run}: found a file or a link that leads nowhere, expected a folder. Move it away."
    run.unlink()
    run.symlink_to(layout.root)
    with pytest.raises(UserError) as caught:
        mounts.refuse_elsewhere(layout, "toy/one", A)
    assert str(caught.value) == (
        f"{run}: is a link to {layout.root.resolve()}, expected a folder: checkpoints are removed, and links are never "
        "followed for that. Remove the link, and run the stage again."
    )
    run.unlink()
    table.write_text(f"21 1 8:1 / / {REST}\n22 21 8:1 /x {run.parent.resolve()} {REST}\n")
    with pytest.raises(UserError) as caught:
        mounts.refuse_elsewhere(layout, "toy/one", A)
    assert str(caught.value) == (
        f"{run} and {place.parent} are on different file systems: a result could not be put in place by a rename. "
        f"Keep all of {layout.results} on one (that folder itself may be a link), and run the stage again."
    )


@pytest.mark.parametrize(
    ("closed", "there"),
    [("mini/toy", False), ("mini", False), ("mini/toy", True), ("mini/toy/one", True), (f".runs/{B}", True)],
    ids=["its pipeline's folder", "its scale's", "beside another result", "another result", "where that goes"],
)
def test_where_this_user_may_not_write_nothing_is_run(
    closed: str, there: bool, layout: Layout, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where another user of a shared folder has run a stage under umask 022. A root user may write anywhere."""
    if there:
        run("toy/one", B)  # under another key: it would have to go aside
    folder = layout.results / closed
    folder.mkdir(parents=True, exist_ok=True)
    allowed = os.access
    monkeypatch.setattr(mounts.os, "access", lambda path, mode: path != folder.resolve() and allowed(path, mode))
    with pytest.raises(UserError, match=rf"{closed}: may not be written to by this user") as error:
        mounts.refuse_elsewhere(layout, "toy/one", A)
    assert "Nothing was run." in str(error.value)
    monkeypatch.undo()
    mounts.refuse_elsewhere(layout, "toy/one", A)
