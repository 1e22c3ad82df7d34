"""Stretches of an array, put one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def gather(data: NDArray[Any], starts: NDArray[Any], lengths: NDArray[Any]) -> NDArray[Any]:
    """The stretches [starts[i], starts[i] + lengths[i]) of `data`, one after the other."""
    ends = (starts + lengths).tolist()
    return np.concatenate([data[:0], *(data[a:b] for a, b in zip(starts.tolist(), ends, strict=True))])
