"""Section: forward and backward pass of attention in the ways of `attentions`.

Each is measured beside what `determinism: fast` takes of torch, in the same process, on the shapes of the training
rows. A row says whether output and gradients had the same bits in every run, and how far they are from fp64.
FlashAttention 4 has a process of its own: if it hangs, or leaves CUDA unusable, that costs its own rows alone.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from torch import Tensor

from benchmarks.device import harness
from benchmarks.device.attentions import CANDIDATES, FAST, Candidate
from benchmarks.device.rows import Row, Rows, against, figure, read
from benchmarks.device.sections import Size
from benchmarks.device.training import CPU as CPU_WORK
from benchmarks.device.training import ROOT
from stages.models.documents import Documents
from stages.store.fingerprint import version
from stages.train.determinism import deterministic

CARRIED = ROOT / ".device" / "attention-{}.{}".format(*sys.version_info)  # `make device-attention` fills it
RUNS = 5
CHUNK = 2048  # queries whose scores are whole at once, in fp64
FURTHER = 2  # times as far from fp64 as the fast way: what computes something else is further
BITS = {2: torch.int16, 4: torch.int32}  # of a number's bytes: 0.0 equals -0.0, and no NaN equals itself
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


def run(size: Size, rows: Rows, part: str) -> None:
    """Rows of a part's candidates, without those that a process before this one came to."""
    # No other section sees it: FlashAttention 4's package has the name of FlashAttention 2's.
    sys.path += [str(CARRIED), str(CARRIED / "nvidia_cutlass_dsl" / "dsl_packages")]
    device = torch.device(size.device)
    before = read(rows.path)
    if part == "torch" and not before:
        rows.add(Row("packages", "", tools()))
    come_to = {(row.what, row.setting.partition("; ")[0]) for row in before}

    @cache
    def fast(shape: Shape) -> tuple[Found, float]:
        found = measured(FAST, shape, device)
        return found, apart(found.parts, exactly(shape))

    exactly = cache(lambda shape: reference(shape, device))
    for candidate in CANDIDATES[part]:
        for shape in CPU if size.rehearsed else GPU:
            if (candidate.name, shape.name) in come_to:
                continue
            if lacking := candidate.lacks(device):
                rows.add(Row(candidate.name, shape.name, "", f"none: {lacking}"))
                continue

            def compared(candidate: Candidate = candidate, shape: Shape = shape) -> Row:
                beside, off = fast(shape)
                if candidate is FAST:
                    return row(candidate, shape, beside, off)
                found = measured(candidate, shape, device)
                other = Beside(beside.milliseconds, off, apart(found.parts, beside.parts))
                return row(candidate, shape, found, apart(found.parts, exactly(shape)), other)

            rows.measure(candidate.name, compared, shape.name)


def tools() -> str:
    """What is installed, and what Triton compiles with."""
    compiler = shutil.which(os.environ.get("CC", "")) or shutil.which("gcc") or shutil.which("clang")
    packages = ("flash-attn-4", "triton")
    return ", ".join([*(f"{name} {version(name)}" for name in packages), f"C compiler {compiler or 'not found'}"])


@dataclass(frozen=True)
class Found:
    """What one way gave: median milliseconds, bytes beside the inputs, the first run's parts, those that differed."""

    milliseconds: float
    held: int
    parts: list[Tensor]
    differ: list[str]


@dataclass(frozen=True)
class Beside:
    """The fast way: its milliseconds, how far it is from fp64, and how far a candidate is from it, over all heads."""

    milliseconds: float
    off: float
    apart: float


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
            differ |= {name for name, one, other in zip(PARTS, first, parts, strict=True) if not same(one, other)}
    return Found(statistics.median(times) * 1e3, held, first, [name for name in PARTS if name in differ])


def once(candidate: Candidate, shape: Shape, inputs: list[Tensor], outer: Tensor, how: Documents) -> list[Tensor]:
    """Output and gradients."""
    q, k, v = leaves = [x.detach().requires_grad_() for x in inputs]
    out = candidate.attend(q, k, v, how, shape.scale)
    return [out.detach(), *torch.autograd.grad(out, leaves, outer)]


def same(one: Tensor, other: Tensor) -> bool:
    """Whether all bits are."""
    return torch.equal(*(x.view(BITS[x.element_size()]) for x in (one, other)))


def row(candidate: Candidate, shape: Shape, found: Found, off: float, fast: Beside | None = None) -> Row:
    """Its time beside the fast one's. One that has to be exact and is not, or is no such attention, has failed."""
    bits = f"other bits in the {', the '.join(found.differ)}" if found.differ else "the same bits"
    setting = f"{shape.name}; {bits} in {RUNS} runs; {off:.1e} from fp64; {found.held / 1e9:.1f} GB"
    time = figure(found.milliseconds, "ms")
    if found.differ and candidate.exact:
        return Row(candidate.name, setting, f"failed: {time}, and not exact", failed=True)
    if fast is None:
        return Row(candidate.name, setting, time)
    if not (off <= FURTHER * fast.off and fast.apart <= (1 + FURTHER) * fast.off):
        far = f"the fast way is {fast.off:.1e} from fp64, and this {fast.apart:.1e} from it, over all heads"
        return Row(candidate.name, setting, f"failed: {time}, and too far off: {far}", failed=True)
    return against(candidate.name, setting, found.milliseconds, ("fast by torch", fast.milliseconds), "ms")


def apart(found: list[Tensor], exactly: list[Tensor]) -> float:
    """The largest relative distance of a part from another's, of as many heads as that has, the first ones."""
    distances = []
    for part, other in zip(found, exactly, strict=True):
        exact = other.double().reshape(-1, *other.shape[-2:])
        distances.append(float((part[..., : exact.shape[-2], :].flatten(0, 1).double() - exact).norm() / exact.norm()))
    return max(distances, key=lambda x: x if x == x else float("inf"))  # a NaN is the furthest


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
