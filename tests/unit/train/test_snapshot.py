"""The copy that a checkpoint is written from while training goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stages.engines import checkpoints, run, training
from stages.train import snapshot
from stages.train.snapshot import Snapshot
from tests.unit.train import tiny

CPU = torch.device("cpu")
LIKE = {"a": torch.zeros(3, 5), "b": torch.zeros(7, dtype=torch.bfloat16), "c": torch.zeros((), dtype=torch.int64)}


def test_a_copy_has_every_tensor_in_its_type_and_shape_and_stays_as_it_was() -> None:
    live = {"a": torch.arange(15.0).view(3, 5), "b": torch.arange(7).bfloat16(), "c": torch.tensor(9)}
    wanted = {name: tensor.clone() for name, tensor in live.items()}
    copied = Snapshot(LIKE, CPU).take(live.items())
    for tensor in live.values():
        tensor.zero_()
    assert {name: (one.dtype, one.tolist()) for name, one in copied.items()} == {
        name: (one.dtype, one.tolist()) for name, one in wanted.items()
    }


@pytest.mark.parametrize("other", [torch.zeros(5), torch.zeros(3, 5).bfloat16(), torch.zeros(1, 5)])
def test_a_tensor_of_another_shape_or_type_is_refused(other: torch.Tensor) -> None:
    """Some of them torch would copy, in other numbers than were asked for."""
    with pytest.raises(ValueError, match=r"^a is torch\.\w+ \[.*\], copied into \[3, 5\]$"):
        Snapshot(LIKE, CPU).take([("a", other)])


class Gpus:
    """Stands in for a tensor of a GPU, whose copy is complete when somebody has waited for it."""

    is_cuda, dtype, shape, nbytes = True, torch.uint8, torch.Size([100]), 100

    def detach(self) -> Gpus:
        return self


class Slow:
    """Stands in for a stream that copies when it is waited for."""

    begun = done = 0

    def record_event(self) -> Any:
        number = self.begun
        return SimpleNamespace(synchronize=lambda: setattr(self, "done", number))


def copied_slowly(monkeypatch: pytest.MonkeyPatch, gathered: bool) -> list[int]:
    """How many of 10 tensors were gathered and not copied when each of them was asked for."""
    monkeypatch.setattr(snapshot, "WAITING", 250)
    stream, found = Slow(), list[int]()
    monkeypatch.setattr(Snapshot, "_copy_aside", lambda *_: setattr(stream, "begun", stream.begun + 1))
    made = Snapshot({f"{i}": torch.zeros(100, dtype=torch.uint8) for i in range(10)}, CPU)
    made._stream = stream

    def coming() -> Iterator[tuple[str, Any]]:
        for i in range(10):
            found.append(stream.begun - stream.done)
            yield f"{i}", Gpus()

    made.take(coming(), gathered=gathered)
    return found


def test_few_gathered_tensors_wait_for_their_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of an optimizer's state, gathered faster than it is copied, had to fit beside the model."""
    assert copied_slowly(monkeypatch, gathered=True) == [0, 1, 2, 2, 2, 2, 2, 2, 2, 2]


def test_tensors_that_live_on_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert copied_slowly(monkeypatch, gathered=False) == [*range(10)]


class Refusing:
    """Stands in for CUDA's runtime on a machine that locks no memory."""

    cudaError = SimpleNamespace(success=0)  # noqa: N815

    def cudaHostRegister(self, *_: int) -> int:  # noqa: N802
        return 304

    def cudaGetErrorString(self, code: int) -> str:  # noqa: N802
        return "OS call failed or operation not supported on this OS"


def test_where_no_memory_is_locked_the_run_goes_on_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It ended at its first checkpoint, with all the steps before it."""
    forgotten, made = list[torch.device](), []
    with monkeypatch.context() as patched:
        patched.setattr(torch.cuda, "cudart", Refusing)
        patched.setattr(torch, "zeros", lambda *_, device: forgotten.append(device))
        reason = snapshot._pin(torch.empty(64, dtype=torch.uint8), CPU)
    assert reason == "OS call failed or operation not supported on this OS (304)"
    assert forgotten == [CPU], "CUDA keeps its last error, and the next kernel would be taken for its cause"

    class Unlocked(Snapshot):
        def __init__(self, like: Any, device: torch.device) -> None:
            super().__init__(like, device)
            self.unlocked = reason
            made.append(self)

    monkeypatch.setattr(checkpoints, "Snapshot", Unlocked)
    monkeypatch.setattr(checkpoints, "in_background", lambda device: True)
    monkeypatch.setattr(training, "PhaseData", tiny.Data)
    run(tiny.make("next_token"), tiny.inputs(tmp_path))
    (line,) = (one for one in capsys.readouterr().out.splitlines() if "locks no memory" in one)
    assert line.startswith(f"tiny/box: this machine locks no memory for the GPU ({reason}), so training waits while")
    assert len(made) == 2
