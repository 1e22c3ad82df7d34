"""A rank that goes on from another checkpoint than the others does not begin."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.store import manifest
from stages.train import checkpoint
from tests.nemo.engines import stopping_after
from tests.nemo.ranks import RankError
from tests.unit.train import tiny
from tests.unit.train.disturbed import BOX, Disturb, nothing, refused, second, train

pytestmark = pytest.mark.slow


def local_copy(file: str, change: Callable[[Path], None]) -> Disturb:
    """Rank 1 reads the checkpoint in a folder of its own node's, in which one file is another."""

    def disturb() -> None:
        real = checkpoint.load

        def load(folder: Path, *given: Any) -> Any:
            if second():
                shutil.copytree(folder, folder := folder.parents[4] / "local")
                change(folder / file)
            return real(folder, *given)

        checkpoint.load = load

    return disturb


def zeroed(tensor: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        tensors = load_file(path)
        names = [name for name in tensors if tensor in name]
        assert names
        save_file(tensors | {name: torch.zeros_like(tensors[name]) for name in names}, path)

    return change


def earlier(path: Path) -> None:
    counters = json.loads(path.read_text())
    path.write_text(json.dumps(counters | {"clock": counters["clock"] - 1}))


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (checkpoint.OPTIMIZER, zeroed(".exp_avg_sq"), "not what the first rank's file has"),
        (checkpoint.WEIGHTS, zeroed("norm"), "allowed: the same on all"),
        (checkpoint.COUNTERS, earlier, "rank 1 has read other counters there than the first rank"),
    ],
)
def test_a_rank_that_goes_on_from_another_checkpoint_does_not_begin(
    file: str, change: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    with pytest.raises(RankError, match="stopped after step 4"):
        train(tmp_path, stopping_after(4))
    refused(tmp_path, local_copy(file, change), said)
    train(tmp_path, nothing)
    assert manifest.read(tiny.inputs(tmp_path).layout.manifest(BOX)).tier == "bit-exact"
