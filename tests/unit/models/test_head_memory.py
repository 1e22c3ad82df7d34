"""The head's loss in chunks: one chunk of logits is alive at a time, and no gradient is copied."""

from __future__ import annotations

import pytest
import torch

from stages.models import ops
from stages.models.ops import head_chunk
from stages.models.ops.head import Chunk
from tests.live import Live
from tests.unit.models.head_loss import given

LONG, WIDE, NARROW = 256, 4096, 4  # logits: 4.2 MB; states: 4 KB; matrix: 66 KB
PART = Chunk(64, 1024)
LOGITS = PART.rows * PART.words * torch.float32.itemsize


def held(
    bf16: bool = False, frozen: bool = False, size: Chunk = PART, softcap: float | None = None
) -> tuple[Live, int]:
    """What a forward and a backward pass hold, and what is left, of a loss whose logits are 16 chunks."""
    states, matrix, labels, weights = given(tokens=LONG, width=NARROW, vocab=WIDE)
    leaves = [states.requires_grad_(), *([] if frozen else [matrix.requires_grad_()])]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16), Live() as live:
        ops.weighted_head_loss(states, matrix, labels, weights, size, softcap)[0].backward()
        left = live.now
    assert all(leaf.grad is not None for leaf in leaves)
    return live, left


@pytest.mark.parametrize("words", [PART.words, WIDE])
@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize("bf16", [False, True])
def test_never_more_than_one_chunk_of_logits_is_alive(bf16: bool, softcap: float | None, words: int) -> None:
    """In bf16 a chunk is there twice for a moment, 2 and 4 bytes a logit, when it changes its precision. Of capped
    logits a half is, next to as many slopes of the cap.
    """
    live, _ = held(bf16, size=Chunk(LOGITS // 4 // words, words), softcap=softcap)
    gradients_of_both = 4 * (LONG + WIDE) * NARROW
    copy_and_product = (2 * 2 * WIDE * NARROW) if bf16 else 0
    by_position = 64 * LONG  # losses, weights, labels and their like
    assert live.largest == LOGITS / (1 if softcap is None else 2)
    assert live.peak < gradients_of_both + copy_and_product + by_position + LOGITS * (1.5 if bf16 else 1)


@pytest.mark.parametrize("softcap", [None, 1.5])
def test_without_gradients_too(softcap: float | None) -> None:
    states, matrix, labels, weights = given(tokens=LONG, width=NARROW, vocab=WIDE)
    with Live() as live:
        ops.weighted_head_loss(states, matrix, labels, weights, Chunk(16, WIDE), softcap)
    assert live.largest == LOGITS
    assert live.peak < LOGITS + 64 * LONG


def test_the_gradients_are_not_copied_on_their_way_out() -> None:
    live, left = held(size=Chunk(64, 128))
    assert left == 4 * (LONG + WIDE) * NARROW
    assert live.peak < left + 64 * LONG + 4 * 64 * 128


def test_a_frozen_matrix_costs_no_gradient() -> None:
    assert held()[0].peak - held(frozen=True)[0].peak >= 4 * WIDE * NARROW


def test_of_a_gpus_rows_the_logits_of_a_few_are_alive_and_the_slopes_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_chunk, "AT_ONCE", 64 * WIDE)
    states, matrix, labels, weights = given(tokens=LONG, width=NARROW, vocab=WIDE)
    into, matrix_grad = torch.empty_like(states), torch.zeros_like(matrix)
    given_to = states, matrix, labels.clamp(min=0)[:, None], weights[:, None]
    with Live() as live:
        head_chunk.rows_on_gpu(*given_to, into, matrix_grad, first=False)
    logits, slopes = 4 * 64 * WIDE, 4 * LONG * WIDE
    assert live.largest == slopes
    assert live.peak < slopes + 2 * logits + 64 * LONG
    with Live() as live:
        head_chunk.rows_on_gpu(*given_to, None, None, first=True)
    assert live.largest == logits
