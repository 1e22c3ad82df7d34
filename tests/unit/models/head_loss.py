"""What the head's loss is computed of, and its definition."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

N, H, V = 150, 32, 700


def given(seed: int = 0, tokens: int = N, width: int = H, vocab: int = V) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States, matrix, labels (every fifth not supervised) and weights."""
    generator = torch.Generator().manual_seed(seed)
    states, matrix = torch.randn(tokens, width, generator=generator), torch.randn(vocab, width, generator=generator)
    labels = torch.randint(0, vocab, (tokens,), generator=generator)
    labels[::5] = -100
    return states, matrix * 0.3, labels, torch.rand(tokens, generator=generator)


def plain(states: Tensor, matrix: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """The definition, of whole logits in fp64."""
    logits = states.double() @ matrix.double().T
    return (F.cross_entropy(logits, labels, ignore_index=-100, reduction="none") * weights.double()).sum()


def relative(found: Tensor, exact: Tensor) -> float:
    """Distance over length."""
    return float((found.double() - exact.double()).norm() / exact.double().norm())


def gradients(total: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Of 3 x the loss: what the backward pass is given is not always 1."""
    return list(torch.autograd.grad(3 * total, inputs))
