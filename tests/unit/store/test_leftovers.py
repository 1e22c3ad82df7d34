"""Directories of killed processes: found by the whole of their names, and only once the process is gone."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import psutil
import pytest

from stages.store import here, leftovers

DEAD = next(number for number in range(4_000_000, 5_000_000) if not psutil.pid_exists(number))
ENDINGS = (".tmp", ".old")


HERE = here.process().removesuffix(str(os.getpid()))  # before the number
TEXT = f".text.{HERE}"
YESTERDAY = time.time() - leftovers.DAY - 60


def found(folder: Path, prefix: str = ".text.") -> list[str]:
    return [path.name for path in leftovers.of_dead(folder, prefix, ENDINGS)]


def test_those_of_a_dead_process_and_of_an_earlier_one_with_our_number(tmp_path: Path) -> None:
    names = [f"{TEXT}{number}{ending}" for number in (DEAD, os.getpid()) for ending in ENDINGS]
    for name in [*names, f"{TEXT}{os.getppid()}.tmp"]:
        (tmp_path / name).mkdir()
    assert found(tmp_path) == sorted(names)


@pytest.mark.parametrize("of", ["another container", "before the host went down", "another host"])
def test_a_number_that_says_nothing_here_is_left_for_a_day_and_that_of_another_host_for_ever(
    of: str, tmp_path: Path
) -> None:
    """Two containers of one host name may both be process 7."""
    host, boot, namespace = socket.gethostname(), here.boot()[: here.KEPT], here.pid_namespace()
    places = {"another container": (host, boot, "1"), "before the host went down": (host, "0" * 8, namespace)}
    place = ".".join(places.get(of, (f"not-{host}", boot, namespace)))
    left = tmp_path / f".text.{place}.{DEAD}.tmp"
    left.mkdir()
    (left / "tokens.bin").touch()
    os.utime(left, (YESTERDAY, YESTERDAY))
    assert found(tmp_path) == [], "something in it was written a moment ago"
    os.utime(left / "tokens.bin", (YESTERDAY, YESTERDAY))
    assert found(tmp_path) == ([] if of == "another host" else [left.name])


@pytest.mark.parametrize(
    "name",
    [
        f"{TEXT}mine", f"{TEXT}mine.tmp", f"{TEXT}{DEAD}", f"{TEXT}{DEAD}.tmp.mine", f"{TEXT}x{DEAD}.tmp",
        f"{TEXT}{DEAD}.x.tmp", f"{TEXT}{DEAD}.tmp\n", f"{TEXT}{DEAD}xtmp", f"{TEXT}٤٠٠٠٠٠٠.tmp", f"{TEXT}{10**12}.tmp",
        f".textx{HERE}{DEAD}.tmp", f"x{TEXT}{DEAD}.tmp", f".text.{DEAD}.tmp", f".text.host.{DEAD}.tmp",
    ],
)  # fmt: skip
def test_a_name_that_is_only_like_one_is_a_users_own(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    assert found(tmp_path) == []


@pytest.mark.parametrize(
    ("prefix", "other"), [(".a[b].", ".ab."), (".a*.", ".axyz."), (".a?.", ".ax."), (".a+.", ".aa.")]
)
def test_characters_of_patterns_mean_themselves(prefix: str, other: str, tmp_path: Path) -> None:
    for one in (prefix, other):
        (tmp_path / f"{one}{HERE}{DEAD}.tmp").mkdir()
    assert found(tmp_path, prefix) == [f"{prefix}{HERE}{DEAD}.tmp"]


def test_a_link_and_a_file_are_none(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / f"{TEXT}{DEAD}.tmp").symlink_to(tmp_path / "mine")
    (tmp_path / f"{TEXT}{DEAD}.old").touch()
    assert found(tmp_path) == []
