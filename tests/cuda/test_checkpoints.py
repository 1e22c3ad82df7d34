"""Checkpoints that are written while a GPU trains on: copied beside it, and with the bits of one that waits."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from stages.engines import checkpoints
from stages.models import tensor_file
from stages.store import files
from stages.train import snapshot
from stages.train.background import Background
from stages.train.snapshot import Snapshot
from tests.cuda import stages
from tests.unit.train import tiny

STATE = 10 << 30  # bytes: 900M parameters in fp32 with their moments
BLOCKED = 2.0  # seconds: 10 GiB at 5 GiB/s, where PCIe 4.0 moves 25


@pytest.mark.parametrize("kind", ["next_token", "moe"])
def test_a_run_that_goes_on_meanwhile_has_the_bits_of_one_that_waits(
    kind: str, device: torch.device, tmp_path: Path, made_up_data: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, found, asked = stages.on(tiny.make(kind), device), [], []
    for aside in (False, True):
        monkeypatch.setattr(checkpoints, "in_background", lambda device, aside=aside: asked.append(aside) or aside)
        found.append(stages.train(made, tmp_path / str(aside)))
    assert not stages.differences(*found)
    assert set(asked) == {False, True}, "a run wrote no checkpoint on its way"


def test_what_changes_after_an_update_is_not_in_the_copy(device: torch.device) -> None:
    live = {f"{i}": torch.full((1 << 22,), float(i), device=device) for i in range(8)}
    copies = Snapshot(live, device)
    for turn in range(3):
        copied = copies.take(live.items())
        copies.before_update()
        for tensor in live.values():
            tensor.add_(1)
        copies.wait()
        assert all(bool((copied[name] == float(name) + turn).all()) for name in live)
    copies.close()


def test_a_gathered_tensor_may_be_let_go_at_once(device: torch.device) -> None:
    """Its memory is given to nobody before it is copied."""
    like = {f"{i}": torch.empty(1 << 22, device="meta") for i in range(16)}
    copies = Snapshot(like, device)
    copied = copies.take((name, torch.full((1 << 22,), float(name), device=device)) for name in like)
    copies.wait()
    assert all(bool((copied[name] == float(name)).all()) for name in like)
    copies.close()


@pytest.mark.gpu_only
def test_few_gathered_tensors_are_there_at_once(device: torch.device) -> None:
    """Made faster than they are copied to the host: 2 GiB in all, of which WAITING and a few are there. Memory that a
    copy still reads is active, and no longer allocated.
    """
    like = {f"{i:02}": torch.empty(1 << 24, device="meta") for i in range(32)}
    memory = Snapshot(like, device)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_stats(device)["active_bytes.all.current"]
    copied = memory.take(((name, torch.full((1 << 24,), float(name), device=device)) for name in like), gathered=True)
    memory.wait()
    assert torch.cuda.memory_stats(device)["active_bytes.all.peak"] - before <= snapshot.WAITING + 4 * (1 << 26)
    assert all(bool((copied[name] == float(name)).all()) for name in like)
    memory.close()


@pytest.mark.gpu_only
def test_memory_that_cannot_be_locked_is_copied_to_all_the_same(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA refuses what is locked already; the error must not be taken for that of a later kernel."""
    pin, reasons = snapshot._pin, list[str]()

    def twice(memory: torch.Tensor, device: torch.device) -> str:
        assert not pin(memory, device)
        reasons.append(pin(memory, device))
        torch.cuda.check_error(int(torch.cuda.cudart().cudaHostUnregister(memory.data_ptr())))
        return reasons[-1]

    monkeypatch.setattr(snapshot, "_pin", twice)
    live = {f"{i}": torch.full((1 << 22,), float(i), device=device) for i in range(8)}
    memory = Snapshot(live, device)
    assert reasons == [memory.unlocked]
    assert "already" in memory.unlocked
    copied = memory.take(live.items())
    memory.before_update()
    for tensor in live.values():
        tensor.add_(1)
    memory.wait()
    assert all(bool((copied[name] == float(name)).all()) for name in live)
    memory.close()


@pytest.mark.gpu_only
def test_training_waits_little_for_ten_gigabytes(device: torch.device, tmp_path: Path) -> None:
    """Prints the seconds until training may go on, until the copy is complete, and until it is on the disk."""
    live = {f"{i:02}": torch.ones(STATE // 40 // 4, device=device) for i in range(40)}
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if pages < 2 * STATE:
        pytest.skip(f"the host has {pages >> 30} GiB of memory free")
    copies = Snapshot(live, device)
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    copied = copies.take(live.items())
    returned = time.perf_counter() - began
    copies.wait()
    complete = time.perf_counter() - began
    with Background() as flight:
        flight.start(lambda: _write(tmp_path / "state.safetensors", copied))
    written = time.perf_counter() - began
    copies.close()
    print(f"10 GiB: training waited {returned:.3f} s, copied after {complete:.3f} s, on the disk after {written:.1f} s")
    assert returned < 0.1 * complete + 0.1
    assert complete < BLOCKED


def _write(path: Path, copied: Mapping[str, torch.Tensor]) -> None:
    files.write(path, tensor_file.blocks(copied))
