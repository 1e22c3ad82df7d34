"""Attention and experts' products on the GPU's kernels are those on a CPU, up to roundings, whatever the documents."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.models.attention import Sight, attend, attend_in
from stages.models.context_parallel import Stretch, attend_stretch
from stages.models.documents import Documents
from stages.models.experts import Experts
from stages.models.ops import choice
from tests.cuda import stages
from tests.rounding import BF16, noise
from tests.unit.models.test_experts import CFG

SEGMENTS = torch.tensor(
    [[0] * 350 + [1] + [2] * 100 + [-1] * 61, [0] * 17 + [1] * 495], dtype=torch.int32
)  # documents of 1 to 495 tokens, and padding: up to four of a kernel's blocks of keys


PARTS = ("output", "queries' gradient", "keys' gradient", "values' gradient")


def off_by(one: Tensor, other: Tensor) -> float:
    """The distance, relative to the other's length."""
    one, other = one.detach().float(), other.detach().float()
    return float((one - other).norm() / other.norm())


def qkv(width: int, value: int, groups: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    heads = ((8, width), (groups, width), (groups, value))
    made = [torch.randn(*SEGMENTS.shape, *shape, generator=generator).to(dtype) for shape in heads]
    return [part.to(device).requires_grad_() for part in made]


def attended(width: int, value: int, groups: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """Output and gradients, fp32 on the CPU."""
    q, k, v = qkv(width, value, groups, dtype, device)
    outer = torch.randn(*SEGMENTS.shape, 8, value, generator=torch.Generator().manual_seed(1)).to(device)
    out = attend(q, k, v, Documents(SEGMENTS.numpy(), device), width**-0.5)
    grads = torch.autograd.grad((out.float() * outer).sum(), (q, k, v))
    return [part.detach().float().cpu() for part in (out, *grads)]


@pytest.mark.parametrize(("width", "value", "groups"), [(64, 64, 8), (128, 128, 2), (192, 128, 8), (24, 16, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_documents_attend_as_on_a_cpu(
    width: int, value: int, groups: int, dtype: torch.dtype, device: torch.device
) -> None:
    """Relative to the largest element: scores are sums over `width`, outputs over a document."""
    exact = attended(width, value, groups, torch.float32, torch.device("cpu"))
    found = attended(width, value, groups, dtype, device)
    # Of numbers around 1: inputs, scores, probabilities and results rounded; fp32 sums of up to 495 terms.
    allowed = 4 * BF16 if dtype == torch.bfloat16 else 495**0.5 * 2.0**-24 * 4
    off = {name: off_by(mine, other) for name, mine, other in zip(PARTS, found, exact, strict=True)}
    assert max(off.values()) <= allowed, f"{off} relative, allowed {allowed:.3g}"


SIGHTS = {"window": Sight(0.125, window=150), "window, capped": Sight(0.125, window=150, softcap=2.0)}


def seen(sight: Sight, rows: bool, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """Output and gradients of attention within documents, or within whole rows, fp32 on the CPU."""
    q, k, v = qkv(64, 64, 2, dtype, device)
    outer = torch.randn(*SEGMENTS.shape, 8, 64, generator=torch.Generator().manual_seed(1)).to(device)
    out = attend_in(q, k, v, None if rows else Documents(SEGMENTS.numpy(), device), sight)
    grads = torch.autograd.grad((out.float() * outer).sum(), (q, k, v))
    return [part.detach().float().cpu() for part in (out, *grads)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("rows", [False, True], ids=["documents", "rows"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_windows_and_capped_scores_are_as_on_a_cpu_and_the_same_bits_twice(
    sight: str, rows: bool, dtype: torch.dtype, device: torch.device
) -> None:
    exact = seen(SIGHTS[sight], rows, torch.float32, torch.device("cpu"))
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    try:
        found, again = (seen(SIGHTS[sight], rows, dtype, device) for _ in range(2))
    finally:
        torch.set_deterministic_debug_mode(before)
    assert not stages.unequal(dict(zip(PARTS, found, strict=True)), dict(zip(PARTS, again, strict=True)))
    off = {name: off_by(mine, other) for name, mine, other in zip(PARTS, found, exact, strict=True)}
    allowed = 4 * BF16 if dtype == torch.bfloat16 else 495**0.5 * 2.0**-24 * 4  # as above
    assert max(off.values()) <= allowed, f"{off} relative, allowed {allowed:.3g}"


def test_a_stretch_of_a_row_attends_as_within_the_whole(device: torch.device) -> None:
    """It begins and ends inside documents; FlashAttention takes fewer queries than keys for the last ones."""
    first, end, row = 150, 475, SEGMENTS[:1].numpy()
    q, k, v = qkv(64, 64, 2, torch.bfloat16, device)
    outer = torch.randn(end - first, 8, 64, device=device)
    whole = attend(q[:1], k[:1], v[:1], Documents(row, device), 0.125)[0, first:end]
    part = attend_stretch(q[0, first:end], k[0], v[0], Stretch(row[0], first, end, device), 0.125)
    found, wanted = ([out, *torch.autograd.grad((out.float() * outer).sum(), (q, k, v))] for out in (part, whole))
    off = {name: off_by(mine, other) for name, mine, other in zip(PARTS, found, wanted, strict=True)}
    assert max(off.values()) <= 4 * BF16, f"{off} relative, allowed {4 * BF16:.3g}"


@pytest.mark.parametrize("width", [64, 192])
def test_attention_has_the_same_bits_twice(width: int, device: torch.device) -> None:
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    try:
        one, other = (attended(width, 64, 2, torch.bfloat16, device) for _ in range(2))
    finally:
        torch.set_deterministic_debug_mode(before)
    assert not stages.unequal(dict(zip(PARTS, one, strict=True)), dict(zip(PARTS, other, strict=True)))


@pytest.mark.parametrize("segments", [SEGMENTS, SEGMENTS[:1, :1].expand(2, 512)], ids=["documents", "rows"])
def test_values_may_begin_in_the_middle_of_sixteen_bytes(segments: Tensor, device: torch.device) -> None:
    """As MLA cuts them out beside narrow keys: [.., 4 + 8] in bf16 begins at byte 8."""
    q, k, _ = qkv(8, 8, 2, torch.bfloat16, device)
    both = torch.randn(*segments.shape, 2, 12, device=device, dtype=torch.bfloat16)
    how = Documents(segments.numpy(), device)
    one, other = (attend(q, k, v, how, 0.3) for v in (both[..., 4:], both[..., 4:].contiguous()))
    assert torch.equal(one, other), f"{off_by(one, other):.3g} relative"


@pytest.mark.parametrize("lengths", [[750, 50, 224], [1024], [40] * 25 + [24]], ids=["long", "one", "short"])
def test_under_deterministic_kernels_documents_are_divided_and_change_nothing(
    lengths: list[int], device: torch.device
) -> None:
    """In fewer heads or documents a call: the outputs' bits, and gradients up to the order of the queries' sums."""
    segments = np.repeat(np.arange(len(lengths)), lengths).astype(np.int32)[None]
    how = Documents(segments, device)
    made = [torch.randn(1, 1024, heads, 64, device=device, dtype=torch.bfloat16) for heads in (12, 6, 6, 12)]
    outer, found = made.pop(), []
    for exact in (True, False):
        leaves = [part.clone().requires_grad_() for part in made]
        torch.set_deterministic_debug_mode("error" if exact else "default")
        try:
            out = attend(leaves[0], leaves[1], leaves[2], how, 0.125)
            found.append([out.detach(), *torch.autograd.grad(out, leaves, outer)])
        finally:
            torch.set_deterministic_debug_mode("default")
    off = {name: off_by(one, other) for name, one, other in zip(PARTS, *found, strict=True)}
    assert max(off.values()) <= 4 * BF16, f"{off} relative, allowed {4 * BF16:.3g}"


@pytest.mark.gpu_only
@pytest.mark.parametrize(
    ("width", "dtype", "sight"),
    [
        (64, torch.bfloat16, Sight(0.125, window=150)),
        (264, torch.bfloat16, Sight(0.06)),
        (264, torch.bfloat16, Sight(0.06, window=150)),
        (64, torch.float32, Sight(0.125)),
        (64, torch.float32, Sight(0.125, window=150)),
    ],
    ids=["window", "wide heads", "wide heads, window", "fp32", "fp32, window"],
)
def test_grouped_heads_of_whole_rows_never_make_all_scores(
    width: int, dtype: torch.dtype, sight: Sight, device: torch.device
) -> None:
    """SDPA makes them where none of its kernels takes what it is given, and says nothing."""
    length, heads = 4096, 8
    made = [torch.randn(1, length, count, width, device=device, dtype=dtype) for count in (heads, 2, 2)]
    q, k, v = (part.requires_grad_() for part in made)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    torch.autograd.grad(attend_in(q, k, v, None, sight).sum(), (q, k, v))
    scores = heads * length * length * dtype.itemsize
    assert torch.cuda.max_memory_allocated() - before < scores


@pytest.mark.gpu_only
def test_a_gpu_takes_the_kernels_that_are_meant_for_it() -> None:
    """On an H100; on what is older, experts go one by one."""
    known = "flash4" in choice.features()
    assert choice.describe("cuda", torch.bfloat16)["attention"] == ("flash4" if known else "flash_varlen")
    if torch.cuda.get_device_capability()[0] in (9, 10):
        assert choice.describe("cuda", torch.bfloat16)["experts"] == "grouped_mm"


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_experts_are_the_cpus(bf16: bool, device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = 500
    plain = Experts(CFG.hidden, CFG.experts, CFG.expert_ffn)
    for parameter in plain.parameters():
        parameter.data.normal_(0, 0.3, generator=generator)
    x, outer = (torch.randn(tokens, CFG.hidden, generator=generator) for _ in range(2))
    chosen = torch.stack([torch.randperm(CFG.experts - 1, generator=generator)[:3] for _ in range(tokens)])
    weights = torch.rand(tokens, 3, generator=generator)

    def taken(experts: Experts, where: torch.device, half: bool) -> Tensor:
        inputs = x.to(where).requires_grad_()
        with torch.enable_grad():
            with torch.autocast(where.type, dtype=torch.bfloat16, enabled=half):
                out = experts(inputs, chosen.to(where), weights.to(where))
            grads = torch.autograd.grad((out.float() * outer.to(where)).sum(), [inputs, *experts.parameters()])
        return torch.cat([part.detach().float().flatten().cpu() for part in (out, *grads)])

    there = Experts(CFG.hidden, CFG.experts, CFG.expert_ffn).to(device)
    there.load_state_dict(plain.state_dict())
    exact = taken(plain, torch.device("cpu"), False)
    found = taken(there, device, bf16)
    terms, unit = (4, BF16) if bf16 else (tokens, 2.0**-24)
    allowed = 2 * noise(plain, lambda: taken(plain, torch.device("cpu"), False), terms, unit)
    off = float((found - exact).abs().max())
    assert off <= allowed, f"{off:.3g} off at most, allowed {allowed:.3g}, of numbers up to {exact.abs().max():.3g}"
