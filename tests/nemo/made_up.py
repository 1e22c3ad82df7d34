"""Weights and rows that are made up, for cases that compare one step of both engines."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from stages.data.loading.sample import Sample


def randomised(model: nn.Module, std: float, seed: int = 3) -> None:
    """Fill with random weights; gains and biases are not what they start at, so that leaving them out is seen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            around = 1.0 if tensor.ndim == 1 and "bias" not in name else 0.0
            tensor.copy_(around + torch.randn(tensor.shape, generator=generator) * std)


def rows(count: int, length: int, last: int, vocab: int) -> tuple[Sample, ...]:
    """Rows of several documents with targets for some positions; the last row ends early, after `last` positions."""
    random = np.random.default_rng(5)
    found = []
    for number in range(count):
        size = last if number == count - 1 else length
        borders = np.sort(random.choice(np.arange(1, size), size=number % 4, replace=False))
        segments = np.searchsorted(borders, np.arange(size), side="right").astype(np.int32)
        starts = np.concatenate([[0], borders])
        labels = random.integers(0, vocab, size)
        labels[random.random(size) < 0.3] = -100
        positions = np.arange(size) - starts[segments]
        found.append(Sample(random.integers(0, vocab, size), labels, segments, positions, (), ()))
    return tuple(found)
