"""Links below results/: nothing is removed through one, and a run's folder is not to be one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.commands import run_log
from stages.errors import UserError
from stages.store import attempts, done, files, finish, garbage, markers, mounts, partials, trees
from stages.store.garbage import Wanted
from stages.store.layout import Layout
from tests.unit.store.conftest import A, Run

NOTHING = Wanted(set(), {})


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A folder out of the project whose content must stay."""
    folder = tmp_path.with_name(f"{tmp_path.name}-precious")
    for name in ("weights", "attempt-0001/partial-000000003/weights", "phase/weights", "final/manifest.json"):
        files.write_atomic(folder / name, b"years of work")
    return folder


def content(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


LINKS = (
    "{run}/attempt-0001/partial-000000003",
    "{run}/attempt-0001/.partial-000000003.host.7.tmp",
    "{run}/attempt-0007",
    "{run}/phase",
    "{run}/final",
    "{run}/final-0002",
    "c" * 32,
)


@pytest.mark.parametrize("wanted", [None, NOTHING, Wanted({A}, {A: {A}})], ids=["unknown", "abandoned", "wanted"])
@pytest.mark.parametrize("link", LINKS)
def test_gc_removes_a_link_and_never_what_it_leads_to(
    link: str, wanted: Wanted | None, layout: Layout, run: Run, precious: Path
) -> None:
    run("toy/one", A)
    path = layout.results / ".runs" / link.format(run=A)
    path.symlink_to(precious)
    before = content(precious)
    found = garbage.find(layout, 0, wanted)
    assert [item.why for item in found if item.folder == path] == [garbage.LINK]
    for item in found:
        garbage.remove(item)
    assert content(precious) == before
    assert not path.is_symlink()
    assert done.is_done(layout, "toy/one", A, {}, deep=True).done


def test_a_link_that_came_after_gc_had_listed_is_not_followed_either(layout: Layout, run: Run, precious: Path) -> None:
    run("toy/one", A)
    attempt = layout.run(A) / "attempt-0001"
    (attempt / "partial-000000003").mkdir()
    (found,) = garbage.find(layout, 0)
    trees.remove_tree(attempt)
    attempt.symlink_to(precious / "attempt-0001")
    before = content(precious)
    garbage.remove(found)
    assert content(precious) == before


def test_remove_tree_takes_links_and_files_for_what_they_are(tmp_path: Path, precious: Path) -> None:
    before = content(precious)
    (tmp_path / "link").symlink_to(precious)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/inner").symlink_to(precious)
    (tmp_path / "file").write_bytes(b"1")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("link", "folder", "file", "pipe", "dangling", "nothing"):
        trees.remove_tree(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    assert content(precious) == before


def test_checkpoints_behind_links_are_not_resumed_from_and_not_cleared(
    layout: Layout, run: Run, precious: Path
) -> None:
    with attempts.start(layout, "toy/one", A, {}) as attempt:
        own = partials.save(partials.path(attempt, 2), lambda folder: files.write(folder / "w", b"1") and None)
        partials.path(attempt, 9).symlink_to(precious)
        before = content(precious)
        assert partials.latest(layout, A, {}) == own
        partials.prune(attempt, keep=1)
        partials.clear(layout, A)
    assert content(precious) == before


def test_a_result_aside_that_is_a_link_is_not_put_back(layout: Layout, run: Run, tmp_path: Path) -> None:
    run("toy/one", A)
    layout.stage("toy/one").rename(tmp_path / "elsewhere")
    (layout.run(A) / "final").symlink_to(tmp_path / "elsewhere")
    assert not finish.restore(layout, "toy/one", A, {})


def test_markers_are_not_removed_through_a_link(layout: Layout, precious: Path) -> None:
    layout.markers.mkdir(parents=True)
    (layout.markers / "toy").symlink_to(precious)
    (layout.markers / "other").mkdir()
    (layout.markers / "other/folder").mkdir()
    before = content(precious)
    markers.refresh(layout, [])
    assert content(precious) == before
    assert list((layout.markers / "other").iterdir()) == []


def test_a_run_folder_that_is_a_link_is_refused_before_the_first_step(layout: Layout, precious: Path) -> None:
    (layout.results / ".runs").mkdir(parents=True)
    layout.run(A).symlink_to(precious)
    before = content(precious)
    with (
        pytest.raises(UserError, match=r"is a link to .*precious, expected a folder"),
        attempts.start(layout, "toy/one", A, {}),
    ):
        pytest.fail("began")
    assert content(precious) == before


@pytest.mark.parametrize("which", ["runs", "place"])
def test_runs_on_another_file_system_are_refused_before_the_first_step(which: str, layout: Layout) -> None:
    """A link from the disk into memory, or the other way: devices differ. (`results` as a whole may be anywhere.)"""
    here, places = layout.root.stat().st_dev, (Path("/dev/shm"), Path("/var/tmp"))
    other = next((place for place in places if place.is_dir() and place.stat().st_dev != here), None)
    if other is None:
        pytest.skip("no second file system here")
    elsewhere = other / f"stages-{os.getpid()}-{which}"
    elsewhere.mkdir()
    try:
        link = layout.results / (".runs" if which == "runs" else "mini")
        link.parent.mkdir(parents=True)
        link.symlink_to(elsewhere)
        with pytest.raises(UserError, match="are on different file systems"), attempts.start(layout, "toy/one", A, {}):
            pytest.fail("began")
        assert list(elsewhere.iterdir()) == []
    finally:
        elsewhere.rmdir()


def test_two_mounts_of_one_device_are_two_file_systems(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in a container: a rename between them is refused by the kernel."""
    table = tmp_path / "mountinfo"
    table.write_text(
        f"21 1 8:1 / / rw - ext4 /dev/a rw\n22 21 8:1 /x {layout.results.resolve()}/.runs rw - ext4 /dev/a rw\n"
    )
    monkeypatch.setattr(mounts, "MOUNTS", table)
    layout.run(A).parent.mkdir(parents=True)
    with pytest.raises(UserError, match="are on different file systems"):
        mounts.refuse_elsewhere(layout, "toy/one", A)
    table.write_text("21 1 8:1 / / rw - ext4 /dev/a rw\n")
    mounts.refuse_elsewhere(layout, "toy/one", A)
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "nothing")  # where there is no such list
    mounts.refuse_elsewhere(layout, "toy/one", A)


@pytest.mark.parametrize("where", ["mini", "mini/toy", "mini/toy/one", ".runs", f".runs/{A}"])
@pytest.mark.parametrize("what", ["a file", "a link that leads nowhere"])
def test_what_is_no_folder_in_the_way_is_refused_before_the_first_step(what: str, where: str, layout: Layout) -> None:
    path = layout.results / where
    path.parent.mkdir(parents=True)
    path.write_bytes(b"") if what == "a file" else path.symlink_to("nowhere")
    with pytest.raises(UserError, match=rf"{where}: .*expected a folder"), attempts.start(layout, "toy/one", A, {}):
        pytest.fail("began")


@pytest.mark.parametrize("link", ["", "state", "model/llm", "metrics.csv"])
def test_nothing_of_a_running_attempt_is_written_through_a_link(layout: Layout, precious: Path, link: str) -> None:
    before = content(precious)
    with attempts.start(layout, "toy/one", A, {}) as attempt:
        place = attempt.result / link
        files.make_dirs(place.parent)
        trees.remove_tree(place)
        place.symlink_to(precious / "weights" if "." in link else precious)
        with pytest.raises(UserError, match=rf"{place}: is a link to .*precious.*\. Remove the link"):
            files.write_atomic(attempt.result / "state/counters.json", b"{}")
    assert content(precious) == before


def log(path: Path, data: bytes) -> None:
    with run_log.logged(path):
        print(data)


@pytest.mark.parametrize("what", ["a link", "a pipe"])
@pytest.mark.parametrize("write", [files.write, files.write_atomic])
def test_what_is_in_a_file_s_place_and_refused_stays(
    tmp_path: Path, precious: Path, write: Callable[[Path, bytes], object], what: str
) -> None:
    path = tmp_path / "metrics.csv"
    place = files.temporary_name(path) if write is files.write_atomic else path
    place.symlink_to(precious / "weights") if what == "a link" else os.mkfifo(place)
    before = place.lstat()
    with pytest.raises(files.WriteError, match="cannot be written"):
        write(path, b"1")
    assert place.lstat() == before


@pytest.mark.parametrize("write", [files.append, files.write, log])
def test_a_link_in_a_file_s_place_is_not_written_through(
    tmp_path: Path, precious: Path, write: Callable[[Path, bytes], object]
) -> None:
    path = tmp_path / "metrics.csv"
    path.symlink_to(precious / "weights")
    with pytest.raises((UserError, OSError)) as caught, files.failing(path):
        write(path, b"1")
    assert "A link is in its place" in str(caught.value)
    assert (precious / "weights").read_bytes() == b"years of work"
