"""A copy of tensors on the host, which a checkpoint is written from while training goes on.

Tensors of a GPU go to pinned memory on a stream of their own, during the next step's forward and backward pass; the
next update waits for them on the GPU (`before_update`), who reads them waits on the host (`wait`). What a checkpoint
contains changes in updates only. Where the machine locks no memory for a GPU, CUDA copies through memory of its own,
and training waits for that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

ALIGNED = 64  # bytes
# Bytes of gathered tensors that wait for their copy: NCCL gathers several times as fast as a GPU copies to the host,
# and a whole optimizer's state may not fit beside the model.
WAITING = 256 << 20


class Snapshot:
    """Memory for one copy, as many bytes as the tensors have, used again by the next copy; of one device at most."""

    def __init__(self, like: Mapping[str, Tensor], device: torch.device) -> None:
        """`like` gives types and shapes."""
        starts, end = {}, 0
        for name, tensor in like.items():
            starts[name] = end
            end += -(-tensor.nbytes // ALIGNED) * ALIGNED
        self._memory, self._device = torch.empty(end, dtype=torch.uint8), device
        self._places = {
            name: self._memory[starts[name] : starts[name] + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
            for name, tensor in like.items()
        }
        self._stream: Any = None
        self._copied: Any = None  # the event on the stream that says so
        self.unlocked = ""  # why the memory is not locked for the GPU
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)
            self.unlocked = _pin(self._memory, device)

    def take(self, tensors: Iterable[tuple[str, Tensor]], gathered: bool = False) -> Mapping[str, Tensor]:
        """Copy tensors that come one by one, all of them. The copies are complete after `wait`, and valid until the
        next call. `gathered`: they are made for this; then the next is asked for when few of them are still there.
        Raises ValueError for another shape or type.
        """
        waiting = deque[tuple[Any, int]]()  # what says that a tensor is copied, and its bytes
        for name, tensor in tensors:
            place = self._places[name]
            if place.shape != tensor.shape or place.dtype != tensor.dtype:
                raise ValueError(f"{name} is {tensor.dtype} {list(tensor.shape)}, copied into {list(place.shape)}")
            if tensor.is_cuda:
                self._copy_aside(place, tensor.detach())
                if gathered:
                    waiting.append((self._stream.record_event(), tensor.nbytes))
            else:
                place.copy_(tensor.detach())
            del tensor  # or it would be there beside the next one
            while sum(size for _, size in waiting) > WAITING:
                waiting.popleft()[0].synchronize()
        if self._stream is not None:
            self._copied = self._stream.record_event()
        return self._places

    def before_update(self) -> None:
        """Have the GPU finish the copies before what comes next on it. Returns at once."""
        if self._copied is not None:
            torch.cuda.current_stream(self._device).wait_event(self._copied)

    def wait(self) -> None:
        """Return when the copies are complete."""
        if self._copied is not None:
            self._copied.synchronize()

    def close(self) -> None:
        """Give pinned memory back."""
        if self._stream is not None:
            self._stream.synchronize()
            if not self.unlocked:
                torch.cuda.check_error(int(torch.cuda.cudart().cudaHostUnregister(self._memory.data_ptr())))

    def _copy_aside(self, place: Tensor, tensor: Tensor) -> None:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))  # what made the tensor comes first
        with torch.cuda.stream(self._stream):
            place.copy_(tensor, non_blocking=True)
        tensor.record_stream(self._stream)  # one that was gathered is let go now: its memory is not reused before


def _pin(memory: Tensor, device: torch.device) -> str:
    """Lock memory in place, so that a GPU copies to it by itself; why it cannot be locked, or "". torch's own pinned
    memory is rounded up to powers of two: for a state of 10 GB that would be 16.
    """
    runtime = torch.cuda.cudart()
    code = runtime.cudaHostRegister(memory.data_ptr(), memory.nbytes, 0)
    if code == runtime.cudaError.success:
        return ""
    with suppress(RuntimeError):  # CUDA keeps the error, and PyTorch would take it for one of the next kernel it starts
        torch.zeros((), device=device)
    return f"{runtime.cudaGetErrorString(code)} ({int(code)})"
