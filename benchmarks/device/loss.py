"""Section: the loss of 262,144 positions over 128,256 words, forward and backward, which as whole logits is 134 GB."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from benchmarks.device import harness
from benchmarks.device.rows import Row, Rows, against, figure, first_line, free
from benchmarks.device.sections import Size
from stages.models import ops
from stages.models.ops import head

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
CHUNK = 4096  # positions, in the alternative
OTHERS = (1, 8)  # chunks whose gradients are two products: the matrix's gradient is read and written by each


def run(size: Size, rows: Rows) -> None:
    device = torch.device(size.device)
    positions, vocab, hidden = (300, 50_000, 16) if size.rehearsed else (262_144, 128_256, 4096)
    setting = f"{positions:,} positions, {vocab:,} words, {hidden:,} channels, bf16 products"

    now: list[tuple[float, float]] = []  # seconds and GB

    def compared() -> list[Row]:
        inputs = made(positions, vocab, hidden, device)
        ours, held, total = timed(ops.head_loss, inputs, device)
        theirs, theirs_held, plain = timed(chunked, inputs, device)
        now.append((ours, held))
        apart = abs(total - plain) / abs(plain)
        return [
            against("loss and its gradients", setting, ours, ("torch, 4,096 positions at a time", theirs), "s"),
            against("its memory beside the inputs", "allocated", held, ("the same", theirs_held), "GB"),
            Row("its value beside that", "relative difference", f"{apart:.2g}"),
        ]

    def other(chunks: int) -> Row:
        """The same loss, with more or fewer rows in its products; it has other last bits."""
        inputs = made(positions, vocab, hidden, device)
        size, ones = head.chunk(vocab, device), torch.ones(positions, device=device)
        changed = head.Chunk(size.rows * chunks // head.TOGETHER, size.words)

        def loss(states: Tensor, matrix: Tensor, labels: Tensor) -> Tensor:
            return ops.weighted_head_loss(states, matrix, labels, ones, changed)[0]

        seconds, held, _ = timed(loss, inputs, device)
        what, setting = (
            f"gradients of {chunks} chunks at once",
            f"{size.rows * chunks:,} positions a product; {held:.3g} GB",
        )
        if not now:
            return Row(what, setting, figure(seconds, "s"), "none: as it is, it failed")
        return against(what, f"{setting}, beside {now[0][1]:.3g}", seconds, ("as it is", now[0][0]), "s")

    rows.measure("loss in chunks", compared)
    for chunks in OTHERS:
        rows.measure(f"gradients of {chunks} chunks at once", partial(other, chunks))
    rows.measure("loss of whole logits", lambda: whole(positions, vocab, hidden, device))


def whole(positions: int, vocab: int, hidden: int, device: torch.device) -> Row:
    """The plain way, which is expected to run out of memory: that is what the chunks are for."""
    inputs = made(positions, vocab, hidden, device)
    try:
        seconds, _, _ = timed(plain, inputs, device)
    except torch.OutOfMemoryError as error:
        return Row("whole logits, for comparison", "", "", f"none: {first_line(error)}")
    finally:
        free()
    return Row("whole logits, for comparison", "", "", figure(seconds, "s"))


def made(positions: int, vocab: int, hidden: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """States [N, H] in bf16, matrix [V, H] in fp32, labels [N]."""
    torch.manual_seed(0)
    states = torch.randn(positions, hidden, device=device, dtype=torch.bfloat16).requires_grad_()
    matrix = (torch.randn(vocab, hidden, device=device) * 0.02).requires_grad_()
    return states, matrix, torch.randint(0, vocab, (positions,), device=device)


def timed(loss: Loss, inputs: tuple[Tensor, Tensor, Tensor], device: torch.device) -> tuple[float, float, float]:
    """Seconds of the second of two runs, which finds its memory reserved, GB beyond the inputs, and the loss."""
    states, matrix, _ = inputs
    harness.reset(device)
    before = harness.allocated(device)
    for _ in range(2):
        states.grad = matrix.grad = None
        began = harness.now(device)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            total = loss(*inputs)
        total.backward()
        seconds = harness.now(device) - began
    return seconds, (harness.peak(device)[0] - before) / 1e9, total.item()


def plain(states: Tensor, matrix: Tensor, labels: Tensor) -> Tensor:
    """Whole logits."""
    return F.cross_entropy(F.linear(states, matrix).float(), labels, reduction="sum")


def chunked(states: Tensor, matrix: Tensor, labels: Tensor) -> Tensor:
    """Chunks over the positions whose logits are made again in the backward pass: how it is written by hand."""
    parts = zip(states.split(CHUNK), labels.split(CHUNK), strict=True)
    losses = [checkpoint(plain, part, matrix, wanted, use_reentrant=False) for part, wanted in parts]
    return torch.stack(losses).sum()
