"""Ranks on GPUs: the same bits from one, two and four that take turns on one GPU, stopped, killed, resumed.

With several GPUs, each rank has its own and NCCL moves what they exchange; with one, NCCL's calls are made by one rank.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from stages.engines import place, run
from stages.engines.launch import launch
from stages.errors import UserError
from stages.store import manifest
from stages.train import collectives
from stages.train.ranks import NCCL
from tests.unit.train import ranked, tiny
from tests.unit.train.test_ranks import BOX, SAMPLE, in_ranks

MOVED = ("next_token", "moe", "coca")  # AdamW's ranges, Muon's matrices and a router's counts, rows of all ranks


@pytest.fixture
def taking_turns(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks may share a GPU."""
    monkeypatch.setenv("STAGES_TEST_DEVICE", device.type)
    monkeypatch.setenv(place.SHARE, "1")


def digest(root: Path) -> bytes:
    return (root / BOX / manifest.NAME).read_bytes()


@pytest.mark.usefixtures("taking_turns", "made_up_data")
def test_one_two_and_four_ranks_taking_turns_have_the_same_bits(tmp_path: Path) -> None:
    """Half of each stage with four ranks, stopped by SIGTERM on the last of them; the rest with two."""
    for objective in MOVED:
        run(ranked.make(objective, 1), tiny.inputs(tmp_path / "one" / objective))
    in_ranks(tmp_path / "many", MOVED, 4, 3, SAMPLE)
    in_ranks(tmp_path / "many", MOVED, 2)
    for objective in MOVED:
        assert digest(tmp_path / "many" / objective) == digest(tmp_path / "one" / objective), objective
        assert manifest.read(tmp_path / "many" / objective / BOX / manifest.NAME).tier == "bit-exact"


@pytest.mark.usefixtures("taking_turns", "made_up_data")
def test_a_rank_killed_in_the_middle_costs_no_bit(tmp_path: Path) -> None:
    run(ranked.make("moe", 1), tiny.inputs(tmp_path / "one"))
    with pytest.raises(UserError, match="rank 1 of 2 was killed by SIGKILL"):
        in_ranks(tmp_path, ["moe"], 2, 1, 4 * SAMPLE, "SIGKILL")
    in_ranks(tmp_path, ["moe"], 2)
    assert digest(tmp_path / "moe") == digest(tmp_path / "one")


@pytest.mark.gpu_only
@pytest.mark.usefixtures("made_up_data")
def test_more_ranks_than_gpus_are_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGES_TEST_DEVICE", "cuda")
    ranks = 2 * torch.cuda.device_count()
    with pytest.raises(UserError, match=f"{ranks} ranks on this machine, where PyTorch finds"):
        in_ranks(tmp_path, ["sft"], ranks)


@pytest.mark.gpu_only
def test_nccl_moves_what_the_exchange_asks_it_to() -> None:
    """One rank alone, so that the calls and their types are tried on a machine with one GPU too."""
    launch([sys.executable, "-m", "tests.cuda.test_ranks"], 1, "nccl")


@pytest.mark.gpu_only
@pytest.mark.usefixtures("made_up_data")
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_have_the_bits_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGES_TEST_DEVICE", "cuda")
    for objective in MOVED:
        run(ranked.make(objective, 1), tiny.inputs(tmp_path / "one" / objective))
    in_ranks(tmp_path / "two", MOVED, 2)
    for objective in MOVED:
        assert digest(tmp_path / "two" / objective) == digest(tmp_path / "one" / objective), objective


def main() -> None:
    """A group of one rank: what goes in comes out."""
    gpu = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(gpu)
    dist.init_process_group(NCCL)
    shapes = ((129,), (1,), (5000,))
    given = [torch.randn(*shape, device=gpu) for shape in shapes]
    collectives.BUCKET = 1000
    flats = [tensor.clone() for tensor in given]
    collectives.all_reduce(flats, 1, gpu)
    collectives.all_gather_parts(flats, [(0, tensor.numel()) for tensor in flats], 0, 1, gpu)
    assert all(torch.equal(a, b) for a, b in zip(flats, given, strict=True))
    whole = collectives.gather_parts(given[2], (0, 5000), 0, 1, gpu)
    assert whole is not None
    assert torch.equal(whole, given[2])
    counts = torch.tensor([3, 5], device=gpu)
    dist.all_reduce(counts)
    assert counts.tolist() == [3, 5]
    assert collectives.all_gather(torch.tensor([7]), 1).tolist() == [[7]]  # messages: gloo, on the host
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
