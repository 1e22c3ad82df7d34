"""The same stage run twice, and by one, two and four ranks, on real corpora: the same digest of every file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from stages.engines.launch import launch
from stages.store import manifest
from tests.faults import cases
from tests.unit.data.small import Small, build

ROOT = Path(__file__).resolve().parents[3]
TRAINED = (*cases.OBJECTIVES, "two_phases")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return build(tmp_path_factory.mktemp("small"))


def alone(folder: Path, small: Small, names: Sequence[str], hash_seed: int) -> Path:
    """Run cases in one process, from a working folder of its own."""
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(hash_seed)}
    command = [sys.executable, "-m", "tests.faults.whole", str(folder / "runs"), str(small.root), *names]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (folder / "said").write_text(done.stdout)
    return folder / "runs"


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, small: Small) -> Path:
    return alone(tmp_path_factory.mktemp("once") / "here", small, cases.NAMES, hash_seed=1)


def result(runs: Path, name: str) -> bytes:
    """manifest.json, once its digests were compared with the files: weights, optimizer, counters, metrics and so on."""
    folder = runs / name / "results/mini/tiny/box"
    assert not manifest.verify(folder, deep=True)
    return (folder / manifest.NAME).read_bytes()


@pytest.mark.slow
def test_every_stage_run_twice_has_the_same_digests(once: Path, tmp_path: Path, small: Small) -> None:
    """In fresh processes, with other hash seeds, from another folder, in another order."""
    again = alone(tmp_path / "elsewhere", small, cases.NAMES[::-1], hash_seed=2)
    for name in cases.NAMES:
        assert result(again, name) == result(once, name), name


@pytest.mark.slow
def test_training_does_not_load_the_compiler(once: Path) -> None:
    """It takes a second or two of every start. (Upcycling does: torch loads it to fill tensors without storage.)"""
    said = (once.parent / "said").read_text()
    assert said.count("compiler imported") == len(cases.NAMES)
    assert f"{TRAINED[-1]}: torch's compiler imported: False" in said  # the cases that train come first


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.nightly)])
def test_ranks_that_train_from_beginning_to_end_have_the_digests_of_one(
    once: Path, tmp_path: Path, small: Small, ranks: int
) -> None:
    command = [sys.executable, "-m", "tests.faults.whole", str(tmp_path), str(small.root), *TRAINED]
    launch(command, ranks, "tiny/box")
    for name in TRAINED:
        assert result(tmp_path, name) == result(once, name), name
