"""Attention never crosses a document's border, and every plan gives what a plain mask gives."""

import inspect
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import varlen

from stages.models import attention
from stages.models.attention import attend, spans
from stages.models.documents import Spans
from stages.models.ops import choice
from stages.models.ops.choice import Feature
from tests.unit.models.rows import documents


def segments_of(*rows: Sequence[tuple[int, int]]) -> Tensor:
    """Rows of (number, length) pairs."""
    return torch.tensor([[number for number, length in row for _ in range(length)] for row in rows], dtype=torch.int32)


SHORT = segments_of([(0, 5), (1, 30), (2, 1), (-1, 4)], [(0, 40)])
LONG = segments_of([(0, 70), (1, 1), (2, 200), (-1, 29)], [(0, 33), (1, 267)])


def inputs(
    segments: Tensor, width: int = 8, value: int = 8, groups: int = 2, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    batch, length = segments.shape

    def drawn(heads: int, size: int) -> Tensor:
        return torch.randn(batch, length, heads, size, generator=generator, requires_grad=True)

    return drawn(4, width), drawn(groups, width), drawn(groups, value)


def by_definition(q: Tensor, k: Tensor, v: Tensor, segments: Tensor, scale: float) -> Tensor:
    """Softmax over the allowed positions, in float64."""
    q, k, v = (x.double().transpose(1, 2) for x in (q, k, v))
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    allowed = (segments[:, None, :, None] == segments[:, None, None, :]).tril()
    return ((q @ k.mT * scale).masked_fill(~allowed, -torch.inf).softmax(-1) @ v).transpose(1, 2)


@pytest.mark.parametrize("value", [8, 5], ids=["equal-widths", "narrow-values"])
@pytest.mark.parametrize("groups", [4, 2], ids=["mha", "gqa"])
@pytest.mark.parametrize("segments", [SHORT, LONG], ids=["short", "long"])
def test_values_and_gradients_are_the_definition(segments: Tensor, groups: int, value: int) -> None:
    q, k, v = inputs(segments, value=value, groups=groups)
    weight = torch.randn(*q.shape[:3], value, generator=torch.Generator().manual_seed(9))
    got = attend(q, k, v, documents(segments), 0.3)
    want = by_definition(q, k, v, segments, 0.3)
    torch.testing.assert_close(got, want.float(), rtol=1e-5, atol=1e-5)
    ours = torch.autograd.grad((got * weight).sum(), (q, k, v))
    theirs = torch.autograd.grad((want * weight).sum(), (q, k, v))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("segments", [SHORT, LONG], ids=["short", "long"])
def test_a_document_is_blind_to_the_others_exactly(segments: Tensor) -> None:
    q, k, v = inputs(segments)
    changed = segments == 1
    noise = torch.randn(segments.shape, generator=torch.Generator().manual_seed(4)) * 50 * changed
    before = attend(q, k, v, documents(segments), 0.3)
    louder = noise[..., None, None]
    after = attend(q + louder, k + louder, v + louder, documents(segments), 0.3)
    assert torch.equal(before[~changed], after[~changed])
    assert not torch.equal(before[changed], after[changed])
    for grad in torch.autograd.grad(before[~changed].sum(), (q, k, v)):
        assert not grad[changed].any()


def varlen_by_hand(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    borders_q: Tensor,
    borders_k: Tensor,
    longest_q: int,
    longest_k: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool = False,
) -> Tensor:
    """What torch's varlen_attn is documented to do, document by document: [N, H, D] -> [N, H, D]."""
    assert borders_q.dtype == borders_k.dtype == torch.int32
    assert torch.equal(borders_q, borders_k)
    assert q.shape[-1] == k.shape[-1] == v.shape[-1]
    assert enable_gqa or q.shape[1] == k.shape[1]
    outputs = []
    for start, end in pairwise(borders_q.tolist()):
        assert 0 < end - start <= longest_q == longest_k
        own_q, own_k, own_v = (x[start:end].transpose(0, 1) for x in (q, k, v))
        seen = _within_window(end - start, *window_size)
        outputs.append(
            F.scaled_dot_product_attention(own_q, own_k, own_v, attn_mask=seen, scale=scale, enable_gqa=True)
        )
    return torch.cat([output.transpose(0, 1) for output in outputs])


def _within_window(length: int, before: int, behind: int) -> Tensor:
    """Which keys [T, T] a query sees: so many before its own and so many behind it, -1 for all of them."""
    back = torch.arange(length)[:, None] - torch.arange(length)
    return ((back <= before) | (before < 0)) & ((-back <= behind) | (behind < 0))


@pytest.fixture
def by_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU in bf16, with torch's kernel done by hand."""
    monkeypatch.setattr(choice, "attention", lambda *_: "flash_varlen")
    monkeypatch.setattr(varlen, "varlen_attn", varlen_by_hand)


@pytest.mark.parametrize("value", [8, 5], ids=["equal-widths", "narrow-values"])
@pytest.mark.parametrize("groups", [4, 2], ids=["mha", "gqa"])
@pytest.mark.parametrize("segments", [SHORT, LONG], ids=["short", "long"])
def test_the_documents_borders_give_the_definition_too(
    segments: Tensor, groups: int, value: int, by_spans: None
) -> None:
    q, k, v = inputs(segments, value=value, groups=groups)
    weight = torch.randn(*q.shape[:3], value, generator=torch.Generator().manual_seed(9))
    got, want = attend(q, k, v, documents(segments), 0.3), by_definition(q, k, v, segments, 0.3)
    torch.testing.assert_close(got, want.float(), rtol=1e-5, atol=1e-5)
    ours = torch.autograd.grad((got * weight).sum(), (q, k, v))
    theirs = torch.autograd.grad((want * weight).sum(), (q, k, v))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_a_packed_image_sees_all_of_itself_by_its_borders(by_spans: None) -> None:
    where = Spans(torch.tensor([0, 4, 10], dtype=torch.int32), 6)
    q, k, v = (torch.randn(10, 2, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    got = spans(q, k, v, where, 0.3, causal=False)
    for part in (slice(0, 4), slice(4, 10)):
        scores = torch.einsum("qhd,khd->hqk", q[part], k[part]) * 0.3
        torch.testing.assert_close(got[part], torch.einsum("hqk,khd->qhd", scores.softmax(-1), v[part]))


def test_torchs_kernel_takes_what_it_is_given_here() -> None:
    """The names of its arguments, in the installed torch; 2.10's have no scale."""
    known = inspect.signature(varlen.varlen_attn).parameters
    assert {"scale", "window_size"} <= known.keys()
    assert [name for name, one in known.items() if one.kind is one.POSITIONAL_OR_KEYWORD] == [
        "query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k",
    ]  # fmt: skip


BOTH = frozenset({"flash_varlen", "grouped_mm"})


@pytest.mark.parametrize(("device", "dtype", "width", "has", "wanted"), [
    ("cuda", torch.bfloat16, 128, BOTH, "flash_varlen"),
    ("cuda", torch.bfloat16, 192, BOTH, "flash_varlen"),
    ("cuda", torch.bfloat16, 256, BOTH, "flash_varlen"),
    ("cuda", torch.bfloat16, 264, BOTH, "sdpa"),
    ("cuda", torch.bfloat16, 36, BOTH, "sdpa"),
    ("cuda", torch.bfloat16, 128, frozenset({"grouped_mm"}), "sdpa"),
    ("cuda", torch.float32, 128, BOTH, "sdpa"),
    ("cpu", torch.bfloat16, 128, BOTH, "sdpa"),
])  # fmt: skip
def test_which_kernel_takes_documents(
    device: str, dtype: torch.dtype, width: int, has: frozenset[Feature], wanted: str
) -> None:
    assert choice.attention(device, dtype, width, has) == wanted


ALL = BOTH | {"flash4"}


@pytest.mark.parametrize(("device", "dtype", "width", "has", "wanted"), [
    ("cuda", torch.bfloat16, 64, ALL, True),
    ("cuda", torch.bfloat16, 128, ALL, True),
    ("cuda", torch.bfloat16, 192, ALL, False),  # was not measured
    ("cuda", torch.bfloat16, 128, BOTH, False),
    ("cuda", torch.float32, 128, ALL, False),
    ("cpu", torch.bfloat16, 128, ALL, False),
])  # fmt: skip
def test_what_flash_attention_4_takes(
    device: str, dtype: torch.dtype, width: int, has: frozenset[Feature], wanted: bool
) -> None:
    assert choice.flash4(device, dtype, width, has) is wanted


def test_no_other_version_of_flash_attention_4_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not choice._flash4_is_here(), "it is not installed here"
    for found, wanted in (("4.0.0b36", True), ("4.0.0", False)):
        monkeypatch.setattr(choice, "version", lambda name, found=found: found)
        assert choice._flash4_is_here() is wanted


def test_a_gpu_without_memory_says_nothing_of_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that fails does: torch's kernels need none."""

    def full(*_: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def broken(*_: Tensor) -> Tensor:
        raise RuntimeError("no C compiler")

    ones = torch.ones(8, dtype=torch.bfloat16)
    monkeypatch.setattr(torch, "ones", lambda *_, **__: ones)
    monkeypatch.setattr(choice, "find_spec", lambda name: name)
    for silu_mul, wanted in ((broken, False), (lambda gate, up: F.silu(gate) * up, True)):
        monkeypatch.setattr(choice.importlib, "import_module", lambda _, made=silu_mul: SimpleNamespace(silu_mul=made))
        assert choice._triton_works() is wanted
    monkeypatch.setattr(choice.importlib, "import_module", lambda _: SimpleNamespace(silu_mul=full))
    with pytest.raises(torch.OutOfMemoryError):
        choice._triton_works()


def test_a_cpu_takes_the_layout_and_says_so() -> None:
    plain = dict.fromkeys(("silu_mul", "rotate", "head_loss"), "plain")
    assert choice.describe("cpu", torch.bfloat16) == {**plain, "attention": "sdpa", "experts": "loop"}


def test_key_heads_are_repeated_where_no_fused_kernel_takes_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = inputs(LONG, groups=2)
    plain = attend(q, k, v, documents(LONG), 0.3)
    monkeypatch.setattr(choice, "equal_heads", lambda *_: True)
    torch.testing.assert_close(attend(q, k, v, documents(LONG), 0.3), plain)


@pytest.mark.parametrize(
    ("dtype", "head_dim", "masked", "wanted"),
    [
        (torch.bfloat16, 128, False, False),
        (torch.bfloat16, 256, False, False),
        (torch.bfloat16, 128, True, True),
        (torch.bfloat16, 264, False, True),
        (torch.float32, 64, False, True),
    ],
)
def test_a_gpus_fused_kernels_take_groups_without_a_mask_in_half_precision_up_to_a_width(
    dtype: torch.dtype, head_dim: int, masked: bool, wanted: bool
) -> None:
    assert choice.equal_heads("cuda", dtype, head_dim, masked) is wanted
    assert not choice.equal_heads("cpu", dtype, head_dim, masked)


@pytest.mark.parametrize("segments", [SHORT, LONG], ids=["short", "long"])
def test_padding_is_finite(segments: Tensor) -> None:
    assert attend(*inputs(segments), documents(segments), 0.3).isfinite().all()


def test_rows_of_one_document_stay_as_they_are() -> None:
    assert documents(torch.zeros(3, 7, dtype=torch.int32)).one_a_row
    assert documents(torch.tensor([[0, 0], [-1, -1]], dtype=torch.int32)).one_a_row
    assert not documents(torch.tensor([[0, 0], [0, -1]], dtype=torch.int32)).one_a_row


def test_the_layout_holds_every_position_once_and_little_else() -> None:
    layout = documents(LONG).layout
    assert torch.equal(layout.index[layout.inverse], torch.arange(LONG.numel()))
    assert int(layout.real.sum()) == LONG.numel()
    assert sum(rows * length for rows, length in layout.shapes) == len(layout.index) < 2 * LONG.numel()


def test_filling_copies_positions_of_its_own_document() -> None:
    """Also of a row's last document: there is no position behind it."""
    segments = segments_of([(0, 20), (1, 12)], [(0, 3), (1, 29)], [(0, 31), (1, 1)])
    layout, start = documents(segments).layout, 0
    numbers = (segments + 10 * torch.arange(3)[:, None]).flatten()
    for rows, length in layout.shapes:
        places = numbers[layout.index[start : start + rows * length]].view(rows, length)
        assert bool((places == places[:, :1]).all())
        start += rows * length


def test_the_same_bits_twice() -> None:
    q, k, v = inputs(LONG)
    first, second = (
        torch.autograd.grad(attend(q, k, v, documents(LONG), 0.3).square().sum(), (q, k, v)) for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("dtype", "first", "copied"), [
    (torch.bfloat16, 0, True),  # rows of 12 numbers are 24 bytes apart
    (torch.bfloat16, 4, True),
    (torch.float32, 4, False),
    (torch.float32, 3, True),
])  # fmt: skip
def test_a_view_that_a_kernel_cannot_read_is_copied(dtype: torch.dtype, first: int, copied: bool) -> None:
    both = torch.randn(2, 5, 2, 12).to(dtype)
    view = both[..., first : first + 8]
    found = attention.aligned(view)
    assert torch.equal(found, view)
    assert (found.data_ptr() != view.data_ptr()) == copied
    assert attention.aligned(found) is found
