"""From the host to a device without waiting for it.

A copy from ordinary memory makes the host wait until the device has it; one from pinned memory is only queued. The
buffer is kept until the copy is done (torch's caching allocator of pinned memory sees to it).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_device(values: Tensor | NDArray[Any], device: torch.device) -> Tensor:
    """Values of the host on a device; on a CPU they are not copied."""
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    if device.type == "cpu" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def positions(wanted: NDArray[np.bool_], device: torch.device) -> Tensor | None:
    """Where `wanted` (any shape, flattened) is true: int64 [n] on the device, or None where it is true everywhere.

    The host knows how many they are; a mask on a device would have to be read back to say so.
    """
    return None if wanted.all() else to_device(np.flatnonzero(wanted), device)


def pick(rows: Tensor, index: Tensor | None) -> Tensor:
    """Rows [N, ...] at the positions of `positions`."""
    return rows if index is None else rows.index_select(0, index)
