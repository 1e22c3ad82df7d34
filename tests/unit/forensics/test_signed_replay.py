"""`stages verify --replay`: steps of a signed result are computed again."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

pytest.importorskip("securesystemslib")

from stages.commands.sign import sign as sign_stage
from stages.commands.sign import verify
from tests.faults.flipped_bits import planted
from tests.unit.forensics.conftest import REF, SCALE
from tests.unit.forensics.test_signed import keys

__all__ = ["keys"]


def test_random_steps_of_a_signed_result_are_computed_again(
    copy: Path, keys: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    sign_stage(REF, SCALE, keys[0])
    place = copy / "results" / SCALE / REF
    assert verify(place, keys[1], 2) == 0
    said = capsys.readouterr().out
    assert "every file is as it was signed" in said
    assert "replay of steps " in said
    assert "equal, every bit of every recorded number" in said
    (place / "metrics.csv").write_bytes((place / "metrics.csv").read_bytes()[:-2])
    assert verify(place, keys[1], 2) == 1
    assert "metrics.csv: signed as blake3" in capsys.readouterr().out
    (place / "\x1b[2J").touch()
    assert verify(place, keys[1], 0) == 1
    assert "\\x1b[2J: a file that is not signed" in capsys.readouterr().out


def test_more_intervals_than_steps_are_all_steps(
    copy: Path, keys: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    sign_stage(REF, SCALE, keys[0])
    assert verify(copy / "results" / SCALE / REF, keys[1], 10**9) == 0
    assert "steps 1 to" in capsys.readouterr().out


def test_a_signed_run_whose_numbers_come_out_otherwise_fails_its_replay(
    copy: Path, keys: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole and signed by the right key: only computing it again tells."""
    sign_stage(REF, SCALE, keys[0])
    place = copy / "results" / SCALE / REF
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random.Random, "randint", lambda self, low, high: low)  # steps 1 to 5
        with planted("weight", 3, random.Random(5)):
            assert verify(place, keys[1], 1) == 1
    said = capsys.readouterr().out
    assert "every file is as it was signed" in said
    assert "step 3: checksums that differ" in said
    assert "this machine does not compute the same twice" in said
