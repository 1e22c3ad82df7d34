"""Section: forward and backward pass of attention, as stages take it and by the candidates of `attentions`.

Each is measured beside what `determinism: fast` takes, on the shapes of the training rows. A row says whether output
and gradients had the same bits in every run, and how far they are from fp64.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from torch import Tensor

from benchmarks.device import harness
from benchmarks.device.attentions import CANDIDATES, EXACT, FAST, Candidate
from benchmarks.device.rows import Row, Rows, against, figure
from benchmarks.device.sections import Size
from benchmarks.device.training import CPU as CPU_WORK
from benchmarks.device.training import ROOT
from stages.models.documents import Documents
from stages.store.fingerprint import version
from stages.train.determinism import deterministic

CARRIED = ROOT / ".device" / "attention-{}.{}".format(*sys.version_info)  # `make device-attention` fills it
RUNS = 5
CHUNK = 2048  # queries whose scores are whole at once, in fp64
PARTS = ("output", "queries' gradient", "keys' gradient", "values' gradient")


@dataclass(frozen=True)
class Shape:
    """Rows of documents of these lengths, and the heads that attend in them."""

    rows: int
    lengths: tuple[int, ...]
    heads: int
    groups: int
    width: int

    @property
    def name(self) -> str:
        """In words, for the table."""
        heads = f"{self.heads} heads" if self.heads == self.groups else f"{self.heads} heads, {self.groups} of keys"
        first, others = self.lengths[0], self.lengths[1:]
        lengths = f"{first:,}" + (f" and {len(others)} of {others[0]:,}" if others else "")
        return f"{self.rows} x {lengths} positions, {heads} of {self.width}"

    @cached_property
    def segments(self) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
        """Each position's document within its row."""
        row = np.repeat(np.arange(len(self.lengths), dtype=np.int32), self.lengths)
        return np.tile(row, (self.rows, 1))

    @property
    def scale(self) -> float:
        """Of the products."""
        return self.width**-0.5

    def drawn(self, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
        """Queries, keys, values and the output's gradient, the same every time."""
        generator = torch.Generator(device).manual_seed(0)
        heads = (self.heads, self.groups, self.groups, self.heads)
        shapes = [(*self.segments.shape, number, self.width) for number in heads]
        return [torch.randn(shape, generator=generator, device=device).to(dtype) for shape in shapes]


GPU = (
    Shape(4, (8192,), 12, 12, 64),
    Shape(1, (65_536,), 32, 8, 128),
    Shape(1, (65_536,), 12, 12, 64),
    Shape(1, (8192,), 32, 8, 128),
    Shape(1, (32_768, *[1500] * 22), 12, 12, 64),
)
CPU = (Shape(2, (200,), 2, 2, 16), Shape(1, (150, *[30] * 3), 4, 2, 16))


def run(size: Size, rows: Rows) -> None:
    # No other section sees it: FlashAttention 4's package has the name of FlashAttention 2's.
    sys.path += [str(CARRIED), str(CARRIED / "nvidia_cutlass_dsl" / "dsl_packages")]
    rows.add(
        Row("packages", "", ", ".join(f"{name} {version(name)}" for name in ("flash-attn-4", "nvidia-cudnn-frontend")))
    )
    device = torch.device(size.device)
    fast: dict[Shape, float] = {}  # milliseconds
    exactly = cache(lambda shape: reference(shape, device))
    for candidate in (FAST, EXACT, *CANDIDATES):
        for shape in CPU if size.rehearsed else GPU:
            if lacking := candidate.lacks(device):
                rows.add(Row(candidate.name, shape.name, "", f"none: {lacking}"))
                continue

            def compared(candidate: Candidate = candidate, shape: Shape = shape) -> Row:
                found = measured(candidate, shape, device)
                if candidate is FAST:
                    fast[shape] = found.milliseconds
                return row(candidate, shape, found, apart(found.parts, exactly(shape)), fast.get(shape))

            rows.measure(candidate.name, compared)


@dataclass(frozen=True)
class Found:
    """What one way gave: median milliseconds, bytes beside the inputs, the first run's parts, those that differed."""

    milliseconds: float
    held: int
    parts: list[Tensor]
    differ: list[str]


def measured(candidate: Candidate, shape: Shape, device: torch.device) -> Found:
    """Forward and backward pass, several times after a first that is not timed; all of them are compared."""
    *inputs, outer = shape.drawn(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    how = Documents(shape.segments, device)
    execution = harness.stage(CPU_WORK[0], device.type, candidate.exact).execution
    harness.reset(device)
    before, times, differ = harness.allocated(device), [], set[str]()
    with deterministic(execution):  # as a stage has it: nothing is filled that is written afterwards
        first = once(candidate, shape, inputs, outer, how)
        held = harness.peak(device)[0] - before
        for _ in range(RUNS):
            began = harness.now(device)
            parts = once(candidate, shape, inputs, outer, how)
            times.append(harness.now(device) - began)
            differ |= {
                name for name, one, other in zip(PARTS, first, parts, strict=True) if not torch.equal(one, other)
            }
    return Found(statistics.median(times) * 1e3, held, first, [name for name in PARTS if name in differ])


def once(candidate: Candidate, shape: Shape, inputs: list[Tensor], outer: Tensor, how: Documents) -> list[Tensor]:
    """Output and gradients."""
    q, k, v = leaves = [x.detach().requires_grad_() for x in inputs]
    out = candidate.attend(q, k, v, how, shape.scale)
    return [out.detach(), *torch.autograd.grad(out, leaves, outer)]


def row(candidate: Candidate, shape: Shape, found: Found, off: float, fast: float | None) -> Row:
    """Its time beside the fast one's. One that has to be exact, and is not, has failed."""
    bits = f"other bits in the {', the '.join(found.differ)}" if found.differ else "the same bits"
    setting = f"{shape.name}; {bits} in {RUNS} runs; {off:.1e} from fp64; {found.held / 1e9:.1f} GB"
    time = figure(found.milliseconds, "ms")
    if found.differ and candidate.exact:
        return Row(candidate.name, setting, f"failed: {time}, and not exact", failed=True)
    if candidate is FAST or fast is None:
        return Row(candidate.name, setting, time)
    return against(candidate.name, setting, found.milliseconds, ("fast now", fast), "ms")


def apart(found: list[Tensor], exactly: list[Tensor]) -> float:
    """The largest relative distance of a part from fp64, in the first key head and the query heads that read it."""
    parts = (x[..., : y.shape[-2], :].flatten(0, 1).double() - y for x, y in zip(found, exactly, strict=True))
    return max(float(part.norm() / y.norm()) for part, y in zip(parts, exactly, strict=True))


def reference(shape: Shape, device: torch.device) -> list[Tensor]:
    """Output and gradients in fp64, [positions, heads, width], of the first key head and the query heads that read it.

    The formulas, a few queries at a time: their scores are whole, over the keys from the first document's first on.
    """
    share = shape.heads // shape.groups
    drawn = shape.drawn(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    q, k, v, outer = (
        x[:, :, :count].flatten(0, 1).double() for x, count in zip(drawn, (share, 1, 1, share), strict=True)
    )
    lengths = shape.lengths * shape.rows
    begins = torch.from_numpy(np.repeat(np.cumsum((0, *lengths[:-1])), lengths)).to(device)
    places = torch.arange(len(begins), device=device)
    out, on_q, on_k, on_v = (torch.zeros_like(x) for x in (q, q, k, v))
    for start in range(0, len(begins), CHUNK):
        rows = slice(start, min(start + CHUNK, len(begins)))
        keys = slice(int(begins[start]), rows.stop)
        unseen = (places[keys] > places[rows, None]) | (places[keys] < begins[rows, None])
        for head in range(share):
            scores = (q[rows, head] @ k[keys, 0].T * shape.scale).masked_fill_(unseen, -torch.inf)
            seen = scores.softmax(-1)
            out[rows, head] = seen @ v[keys, 0]
            on_v[keys, 0] += seen.T @ outer[rows, head]
            along = (outer[rows, head] * out[rows, head]).sum(-1, keepdim=True)
            on_scores = seen * (outer[rows, head] @ v[keys, 0].T - along) * shape.scale
            on_q[rows, head] = on_scores @ k[keys, 0]
            on_k[keys, 0] += on_scores.T @ q[rows, head]
    return [out, on_q, on_k, on_v]
