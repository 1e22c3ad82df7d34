"""Directories of killed processes: found by the whole of their names, and only once the process is gone."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from stages.store import leftovers

DEAD = next(number for number in range(4_000_000, 5_000_000) if not psutil.pid_exists(number))
ENDINGS = (".tmp", ".old")


def found(folder: Path, prefix: str = ".text.host.") -> list[str]:
    return [path.name for path in leftovers.of_dead(folder, prefix, ENDINGS)]


def test_those_of_a_dead_process_and_of_an_earlier_one_with_our_number(tmp_path: Path) -> None:
    names = [f".text.host.{number}{ending}" for number in (DEAD, os.getpid()) for ending in ENDINGS]
    for name in [*names, f".text.host.{os.getppid()}.tmp"]:
        (tmp_path / name).mkdir()
    assert found(tmp_path) == sorted(names)


@pytest.mark.parametrize(
    "name",
    [
        ".text.host.mine", ".text.host.mine.tmp", f".text.host.{DEAD}", f".text.host.{DEAD}.tmp.mine",
        f".text.host.x{DEAD}.tmp", f".text.host.{DEAD}.x.tmp", f".text.host.{DEAD}.tmp\n", f".text.host.{DEAD}xtmp",
        ".text.host.٤٠٠٠٠٠٠.tmp", f".text.host.{10**12}.tmp", f".textxhost.{DEAD}.tmp", f"x.text.host.{DEAD}.tmp",
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
        (tmp_path / f"{one}{DEAD}.tmp").mkdir()
    assert found(tmp_path, prefix) == [f"{prefix}{DEAD}.tmp"]


def test_a_link_and_a_file_are_none(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / f".text.host.{DEAD}.tmp").symlink_to(tmp_path / "mine")
    (tmp_path / f".text.host.{DEAD}.old").touch()
    assert found(tmp_path) == []
