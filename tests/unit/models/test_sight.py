"""Attention within windows and with capped scores, against one dense computation in fp64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention import varlen

from stages.models import attention, masks
from stages.models.attention import Sight, attend, attend_in, spans
from stages.models.documents import Documents
from stages.models.ops import choice
from tests.unit.models.test_attention import varlen_by_hand

ROWS, LENGTH, HEADS, GROUPS, WIDTH = 2, 24, 4, 2, 8
SEGMENTS = np.array([[0] * 3 + [1] * 20 + [-1], [0] * LENGTH], dtype=np.int32)
SIGHTS = [Sight(0.3, window=5), Sight(0.3, window=1), Sight(0.3, softcap=0.7), Sight(0.3, window=5, softcap=0.7)]


def heads(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(ROWS, LENGTH, count, WIDTH) for count in (HEADS, GROUPS, GROUPS)]
    q, k, v = (torch.randn(shape, generator=generator).requires_grad_() for shape in shapes)
    return q, k, v


def dense(q: Tensor, k: Tensor, v: Tensor, sight: Sight, segments: np.ndarray) -> Tensor:
    """Every query with every key, in fp64."""
    q, k, v = (x.double() for x in (q, k, v))
    k, v = (x.repeat_interleave(HEADS // GROUPS, dim=2) for x in (k, v))
    scores = torch.einsum("bihd,bjhd->bhij", q, k) * sight.scale
    if sight.softcap is not None:
        scores = sight.softcap * torch.tanh(scores / sight.softcap)
    own = torch.from_numpy(segments)
    back = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)
    seen = (own[:, :, None] == own[:, None]) & (back >= 0) & (back < (sight.window or LENGTH))
    return torch.einsum("bhij,bjhd->bihd", scores.masked_fill(~seen[:, None], -torch.inf).softmax(-1), v)


@pytest.mark.parametrize("segments", [None, SEGMENTS], ids=["whole rows", "documents"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_it_is_the_dense_computation_with_its_gradients(sight: Sight, segments: np.ndarray | None) -> None:
    ours, theirs = heads(1), heads(1)
    how = None if segments is None else Documents(segments, torch.device("cpu"))
    found = attend_in(*ours, how, sight)
    wanted = dense(*theirs, sight, np.zeros_like(SEGMENTS) if segments is None else segments)
    real = torch.ones(ROWS, LENGTH, dtype=torch.bool) if segments is None else torch.from_numpy(segments) >= 0
    assert (found - wanted)[real].abs().max() <= 1e-6
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(2)) * real[..., None, None]
    (found * weights).sum().backward()
    (wanted * weights).sum().backward()
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert (mine.grad - other.grad).abs().max() <= 1e-5


@pytest.mark.parametrize("segments", [None, SEGMENTS], ids=["whole rows", "documents"])
@pytest.mark.parametrize("window", [1, 2, 5, 20])
def test_a_gpus_kernel_is_told_the_window_without_the_querys_own_key(
    window: int, segments: np.ndarray | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whole rows too, where a mask would have SDPA make all scores of grouped heads."""
    monkeypatch.setattr(choice, "attention", lambda *_: "flash_varlen")
    monkeypatch.setattr(varlen, "varlen_attn", varlen_by_hand)
    calls: list[Any] = []

    def counted(*given: Any, **named: Any) -> Tensor:
        calls.append(named["window"])
        return spans(*given, **named)

    monkeypatch.setattr(attention, "spans", counted)
    ours, sight = heads(4), Sight(0.3, window=window)
    how = None if segments is None else Documents(segments, torch.device("cpu"))
    found = attend_in(*ours, how, sight)
    own = np.zeros_like(SEGMENTS) if segments is None else segments
    assert (found - dense(*ours, sight, own))[torch.from_numpy(own) >= 0].abs().max() <= 1e-6
    assert calls == [window]


def test_a_window_of_the_whole_row_is_no_window() -> None:
    q, k, v = heads(3)
    assert torch.equal(attend_in(q, k, v, None, Sight(0.3, window=LENGTH)), attend(q, k, v, None, 0.3))


@pytest.mark.parametrize("window", [1, 5, None])
def test_the_mask_of_a_shorter_row_is_the_beginning_of_the_longest(window: int | None) -> None:
    """A copy for every length would stay in memory: 16 of [T, T] did."""
    masks._longest.cache_clear()
    device, memory = torch.device("cpu"), set[int]()
    for length in (24, 70, 8, 33, 70, 24):
        found = masks.unseen(length, window, torch.float32, device)
        back = torch.arange(length)[:, None] - torch.arange(length)
        wanted = torch.zeros(length, length).masked_fill((back < 0) | (back >= (window or length)), -torch.inf)
        assert torch.equal(found, wanted)
        memory.add(found.untyped_storage().data_ptr())
    assert len(memory) == 2, "one for rows of 24, another for all after those of 70"
    assert found.stride(0) % masks.ALIGNED == 0
