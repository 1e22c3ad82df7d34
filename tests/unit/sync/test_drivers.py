"""Which locks of Snakemake are left behind: records of processes beside lock files, as Snakemake writes them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stages.store import files, holder
from stages.sync import drivers
from stages.sync.drivers import Driver

SECOND = 10**9


@pytest.fixture
def living() -> Iterator[Driver]:
    """A process of this host that is not this one."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield replace(drivers.this(), pid=process.pid, began=holder.began(process.pid))
    process.kill()
    process.communicate()


GONE = replace(drivers.this(), began=0.5)  # the process id is in use again
REBOOTED = replace(drivers.this(), boot="00000000-0000-0000-0000-000000000000")
ELSEWHERE = replace(drivers.this(), host="elsewhere")


def record(folder: Path, driver: Driver, second: int) -> None:
    path = folder / "drivers" / driver.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, ns=(second * SECOND, second * SECOND))


def lock(folder: Path, second: int, text: str = "marker\n", name: str = "0.output.lock") -> Path:
    path = folder / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, ns=(second * SECOND, second * SECOND))
    return path


@pytest.mark.parametrize("driver", [GONE, REBOOTED], ids=["killed", "the machine was started again"])
def test_the_lock_of_a_process_that_is_gone_is_removed_with_a_word(driver: Driver, tmp_path: Path) -> None:
    record(tmp_path, driver, 1)
    left = [lock(tmp_path, 2), lock(tmp_path, 2, name="0.input.lock")]
    said = drivers.enter(tmp_path)
    assert not any(path.exists() for path in left)
    assert said == [f"snakemake, process {driver.pid} on host {driver.host}, is gone: its lock was removed"]
    assert drivers.read(tmp_path / "drivers") == [drivers.this()]


def test_who_may_not_write_in_snakemakes_folder_is_told_what_works(tmp_path: Path) -> None:
    (tmp_path / "drivers").touch()
    with pytest.raises(files.WriteError, match="a dry run too; `stages status` tells what is to be run, and writes"):
        drivers.enter(tmp_path)


def test_the_lock_of_a_living_process_stays(living: Driver, tmp_path: Path) -> None:
    record(tmp_path, living, 1)
    record(tmp_path, GONE, 1)
    left = lock(tmp_path, 2)
    (said,) = drivers.enter(tmp_path)
    assert left.exists()
    assert f"process {living.pid} on host {living.host}, is at work here" in said


def test_the_lock_of_a_process_in_another_container_of_this_host_stays_until_it_ends(tmp_path: Path) -> None:
    """Its number is none here, or another process's; it has the kernel's lock on its record."""
    record(tmp_path, GONE, 1)
    left = lock(tmp_path, 2, "made\n")
    with (tmp_path / "drivers" / GONE.name).open() as its:
        fcntl.flock(its, fcntl.LOCK_EX)
        (said,) = drivers.enter(tmp_path)
        assert "is at work here" in said
        assert drivers.in_the_way(tmp_path, "made", set()) == GONE
    assert drivers.in_the_way(tmp_path, "made", set()) is None
    assert drivers.enter(tmp_path) != []
    assert not left.exists()


def test_a_process_has_the_lock_on_its_record(tmp_path: Path) -> None:
    for _ in range(2):
        drivers.enter(tmp_path)
    assert holder.is_locked(tmp_path / "drivers" / drivers.this().name)


def test_the_lock_of_a_process_on_another_host_stays_and_says_what_to_type(tmp_path: Path) -> None:
    record(tmp_path, ELSEWHERE, 1)
    left = lock(tmp_path, 2)
    (said,) = drivers.enter(tmp_path)
    assert left.exists()
    assert "on host elsewhere, may be at work here" in said
    assert "snakemake --unlock" in said


def test_a_lock_that_is_older_than_a_living_process_is_not_its(living: Driver, tmp_path: Path) -> None:
    record(tmp_path, GONE, 1)
    left = lock(tmp_path, 2)
    record(tmp_path, living, 3)
    assert drivers.enter(tmp_path) != []
    assert not left.exists()


def test_a_lock_of_nobody_known_is_left_to_snakemake(tmp_path: Path) -> None:
    """A Snakemake of an older checkout leaves no record, and may be alive."""
    left = lock(tmp_path, 2)
    record(tmp_path, GONE, 3)
    assert drivers.enter(tmp_path) == []
    assert left.exists()


def test_who_unlocks_says_that_nobody_is_there(tmp_path: Path) -> None:
    record(tmp_path, ELSEWHERE, 1)
    assert drivers.enter(tmp_path, forget=True) == []
    assert drivers.read(tmp_path / "drivers") == [drivers.this()]


def test_files_of_other_names_are_nobodys(tmp_path: Path) -> None:
    (tmp_path / "drivers").mkdir()
    for name in ("a", "a+b+c+d", "a+b+1+None", "a+b+-1+1.0", ".nfs0001"):
        (tmp_path / "drivers" / name).touch()
    assert drivers.enter(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("0.output.lock", "made\n", True),
        ("0.input.lock", "made\n", True),
        ("0.output.lock", "read\n", True),
        ("0.input.lock", "read\n", False),
        ("0.output.lock", "another\n", False),
    ],
)
def test_what_has_a_lock_on_the_same_files_is_in_the_way(
    name: str, text: str, found: bool, living: Driver, tmp_path: Path
) -> None:
    record(tmp_path, living, 1)
    lock(tmp_path, 2, text, name)
    assert drivers.in_the_way(tmp_path, "made", {"read"}) == (living if found else None)


def test_nobody_is_in_the_way_once_it_is_gone(tmp_path: Path) -> None:
    record(tmp_path, GONE, 1)
    lock(tmp_path, 2, "made\n")
    assert drivers.in_the_way(tmp_path, "made", set()) is None
