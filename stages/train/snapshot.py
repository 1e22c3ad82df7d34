"""A copy of tensors on the host, which a checkpoint is written from while training goes on.

Tensors of a GPU go to pinned memory on a stream of their own, during the next step's forward and backward pass; the
next update waits for them on the GPU (`before_update`), who reads them waits on the host (`wait`). What a checkpoint
contains changes in updates only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

ALIGNED = 64  # bytes


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
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)
            _pin(self._memory)

    def take(self, tensors: Iterable[tuple[str, Tensor]]) -> Mapping[str, Tensor]:
        """Copy tensors that come one by one, all of them. The copies are complete after `wait`, and valid until the
        next call. Raises ValueError for another shape or type.
        """
        for name, tensor in tensors:
            place = self._places[name]
            if place.shape != tensor.shape or place.dtype != tensor.dtype:
                raise ValueError(f"{name} is {tensor.dtype} {list(tensor.shape)}, copied into {list(place.shape)}")
            if tensor.is_cuda:
                self._copy_aside(place, tensor.detach())
            else:
                place.copy_(tensor.detach())
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
            _checked(torch.cuda.cudart().cudaHostUnregister(self._memory.data_ptr()))

    def _copy_aside(self, place: Tensor, tensor: Tensor) -> None:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))  # what made the tensor comes first
        with torch.cuda.stream(self._stream):
            place.copy_(tensor, non_blocking=True)
        tensor.record_stream(self._stream)  # one that was gathered is let go now: its memory is not reused before


def _pin(memory: Tensor) -> None:
    """Lock memory in place, so that a GPU copies to it by itself. torch's own pinned memory is rounded up to powers of
    two: for a state of 10 GB that would be 16.
    """
    _checked(torch.cuda.cudart().cudaHostRegister(memory.data_ptr(), memory.nbytes, 0))


def _checked(code: Any) -> None:
    torch.cuda.check_error(int(code))
