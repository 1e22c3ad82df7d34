"""A real resume and commit on a disk that fails at every change: told, and the next run ends with the same bits."""

from __future__ import annotations

import errno
import os
import random
import shutil
from pathlib import Path

import pytest

from stages.engines import checkpoints, run
from stages.store import files, manifest
from stages.store.disk import Disk
from tests.faults.disks import Failing, using
from tests.faults.test_resume import BOX, root, stopped
from tests.unit.train import tiny

__all__ = ["root", "stopped"]

FAULTS = [(errno.ENOSPC, False), (errno.ENOSPC, True), (errno.EIO, False), (errno.EROFS, True)]
NAMES = ["full once", "full", "broken once", "read-only"]
SAMPLE = 8  # of the changes, for each fault; the nightly run tries all


@pytest.fixture(params=["waiting", "background"])
def written(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How checkpoints are written."""
    how: str = request.param
    monkeypatch.setattr(checkpoints, "in_background", lambda device: how == "background")
    return how


def go_on(place: Path, disk: Disk) -> str | None:
    """Run the stage that has stopped in `place`; what an error said."""
    with using(disk):
        try:
            run(tiny.make("next_token"), tiny.inputs(place))
        except files.WriteError as error:
            return str(error)
    return None


def fail_at(root: Path, points: range | list[int], code: int, lasting: bool, whole: bytes) -> None:
    for at in points:
        place = root.parent / f"{at}"
        shutil.copytree(root, place)
        said = go_on(place, Failing(at, code, lasting))
        assert said is None or os.strerror(code) in said
        if said is None or (place / BOX).exists():
            assert (place / BOX / manifest.NAME).read_bytes() == whole
        run(tiny.make("next_token"), tiny.inputs(place))
        assert (place / BOX / manifest.NAME).read_bytes() == whole
        assert not manifest.verify(place / BOX, deep=True)
        shutil.rmtree(place)


def changes(root: Path) -> int:
    counter, place = Failing(0, None, lasting=False), root.parent / "count"
    shutil.copytree(root, place)
    assert go_on(place, counter) is None
    return counter.count


@pytest.mark.parametrize(("code", "lasting"), FAULTS, ids=NAMES)
def test_an_error_at_some_changes(
    code: int, lasting: bool, written: str, root: Path, stopped: tuple[Path, bytes]
) -> None:
    count = changes(root)
    assert count > 100
    points = random.Random(f"{code} {lasting} {written}").sample(range(1, count + 1), SAMPLE)
    fail_at(root, points, code, lasting, stopped[1])


@pytest.mark.nightly
@pytest.mark.parametrize(("code", "lasting"), FAULTS, ids=NAMES)
def test_an_error_at_every_change(
    code: int, lasting: bool, written: str, root: Path, stopped: tuple[Path, bytes]
) -> None:
    fail_at(root, range(1, changes(root) + 1), code, lasting, stopped[1])


def test_a_disk_that_takes_less_than_it_is_given_gets_every_byte(root: Path, stopped: tuple[Path, bytes]) -> None:
    class Short(Disk):
        def write(self, handle: int, data: memoryview) -> int:
            return super().write(handle, data[: len(data) // 2 + 1])

    assert go_on(root, Short()) is None
    assert (root / BOX / manifest.NAME).read_bytes() == stopped[1]
    assert not manifest.verify(root / BOX, deep=True)
