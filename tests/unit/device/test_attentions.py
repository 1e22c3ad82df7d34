"""FlashAttention 4 and what measures it, as far as a CPU can say: the seam, and what it is compared with."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.device import attentions, exact_attention
from benchmarks.device.attentions import EXACT, FAST, Attend, Candidate
from benchmarks.device.exact_attention import Beside, Found, Shape
from benchmarks.device.rows import Row, Rows, read
from benchmarks.device.sections import SECTIONS, Size
from stages.models import attention, flash4, layers
from stages.models.documents import Documents
from stages.models.ops import choice

CPU = torch.device("cpu")
SHAPES = (
    Shape(2, (200,), 4, 2, 16), Shape(1, (150, 30, 30, 30), 2, 2, 16), Shape(1, (1, 127, 128, 129, 300), 2, 1, 8),
)  # fmt: skip


def attended(attend: Attend, shape: Shape, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    *inputs, outer = (x.to(dtype) for x in shape.drawn(CPU, torch.float32))
    candidate = Candidate("any", attend)
    return exact_attention.once(candidate, shape, inputs, outer, Documents(shape.segments, CPU))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_what_candidates_are_compared_with_is_attention(shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts of a few queries, which do not fall on the documents' borders; every formula in fp64."""
    monkeypatch.setattr(exact_attention, "CHUNK", 64)
    found = attended(attention.attend, shape, torch.float64)
    assert exact_attention.apart(found, exact_attention.reference(shape, CPU)) < 1e-12


@pytest.mark.parametrize("part", range(4))
def test_a_part_that_is_off_is_seen(part: int) -> None:
    exactly = exact_attention.reference(SHAPES[0], CPU)
    found = attended(attention.attend, SHAPES[0])
    found[part][1, 7, 0, 3] += 0.5
    assert exact_attention.apart(found, exactly) > 1e-3


def with_gradients(q: Tensor, k: Tensor, v: Tensor, grad: Tensor | None, scale: float) -> tuple[Tensor, ...]:
    """Causal attention of one document [T, H, K] and its gradients by their formulas: an operation has no autograd."""
    share = q.shape[1] // k.shape[1]
    wide_k, wide_v = (x.repeat_interleave(share, 1) for x in (k, v))
    scores = torch.einsum("ihd,jhd->hij", q, wide_k) * scale
    seen = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf).softmax(-1)
    out = torch.einsum("hij,jhd->ihd", seen, wide_v)
    if grad is None:
        return (out,)
    on_seen = torch.einsum("ihd,jhd->hij", grad, wide_v)
    on_scores = seen * (on_seen - (seen * on_seen).sum(-1, keepdim=True)) * scale
    on_k, on_v = torch.einsum("hij,ihd->jhd", on_scores, q), torch.einsum("hij,ihd->jhd", seen, grad)
    grouped = (x.unflatten(1, (-1, share)).sum(2) for x in (on_k, on_v))
    return torch.einsum("hij,jhd->ihd", on_scores, wide_k), *grouped


class StandIn:
    """flash_attn.cute.interface, computed within each document; what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bool]] = []

    def _flash_attn_fwd(self, q: Tensor, k: Tensor, v: Tensor, **asked: Any) -> tuple[Any, ...]:
        assert (asked["causal"], asked["return_lse"]) == (True, True)
        self.calls.append(("forward", False))
        (out,) = self._each((q, k, v), asked)
        return out, q.new_zeros(q.transpose(-3, -2).shape[:-1]), None, None, None

    def _flash_attn_bwd(
        self, q: Tensor, k: Tensor, v: Tensor, out: Tensor, grad: Tensor, normalisers: Tensor, **asked: Any
    ) -> tuple[Tensor, ...]:
        assert asked["causal"]
        self.calls.append(("backward", asked["deterministic"]))
        return self._each((q, k, v, grad), asked)

    @staticmethod
    def _each(tensors: tuple[Tensor, ...], asked: dict[str, Any]) -> tuple[Tensor, ...]:
        if "cu_seqlens_q" in asked:
            sizes = asked["cu_seqlens_q"].diff().tolist()
            assert asked["max_seqlen_q"] == asked["max_seqlen_k"] == max(sizes)
            assert torch.equal(asked["cu_seqlens_k"], asked["cu_seqlens_q"])
            parts, join = zip(*(x.split(sizes) for x in tensors), strict=True), torch.cat
        else:
            parts, join = zip(*(x.unbind() for x in tensors), strict=True), torch.stack
        made = [with_gradients(q, k, v, grad[0] if grad else None, asked["softmax_scale"]) for q, k, v, *grad in parts]
        return tuple(join(list(one)) for one in zip(*made, strict=True))


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn()
    for name in ("flash_attn", "flash_attn.cute"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "flash_attn.cute.interface", made)
    return made


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_flash_attention_4_is_ours_and_asked_for_a_fixed_order_where_that_is_wanted(
    shape: Shape, package: StandIn
) -> None:
    wanted, found = attended(attention.attend, shape), attended(flash4.attend, shape)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found, wanted, strict=True))
    torch.use_deterministic_algorithms(True)
    try:
        attended(flash4.attend, shape)
    finally:
        torch.use_deterministic_algorithms(False)
    assert package.calls == [("forward", False), ("backward", False), ("forward", False), ("backward", True)]


def test_attention_goes_to_flash_attention_4_where_it_is_there_with_narrower_values_widened(
    package: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = SHAPES[0]
    how = Documents(shape.segments, CPU)
    q, k, v = (x.requires_grad_() for x in shape.drawn(CPU, torch.float32)[:3])
    narrow = v[..., : shape.width // 2]
    wanted = attention.by_torch(q, k, narrow, how, shape.scale)
    assert not package.calls
    monkeypatch.setattr(choice, "flash4", lambda *_: True)
    found = attention.attend(q, k, narrow, how, shape.scale)
    assert package.calls == [("forward", False)]
    for one, other in zip(*(_with(out, (q, k, v)) for out in (found, wanted)), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def _with(out: Tensor, leaves: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """An output and its gradients."""
    return out.detach(), *torch.autograd.grad(out.square().sum(), leaves)


class Attends(nn.Module):
    """A layer of FlashAttention 4."""

    def forward(self, x: Tensor, how: Documents) -> Tensor:
        return x + flash4.attend(x, x, x, how, 0.3)


@pytest.mark.parametrize("shape", SHAPES[:2], ids=lambda shape: shape.name)
def test_recomputed_layers_keep_what_flash_attention_4_put_out(
    shape: Shape, package: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "ATTENTION", layers.ATTENTION | {flash4.OPERATION})
    x = torch.randn(*shape.segments.shape, 2, 16).requires_grad_()
    stack, found = layers.Layers([Attends(), Attends()]), []
    for recomputed in (False, True):
        stack.recomputed = recomputed
        out = stack.through(x, Documents(shape.segments, CPU))
        found.append(torch.autograd.grad(out.square().sum(), x)[0])
    assert torch.equal(*found)
    assert [kind for kind, _ in package.calls].count("forward") == 4  # two layers, twice; none a third time


def test_flash_attention_4_has_shapes_where_nothing_is_computed() -> None:
    with FakeTensorMode():
        q, k = torch.empty(2, 5, 4, 8, requires_grad=True), torch.empty(2, 5, 2, 8, requires_grad=True)
        out = flash4.attend(q, k, k, None, 0.3)
        grads = torch.autograd.grad(out.sum(), (q, k))
    assert [tuple(x.shape) for x in (out, *grads)] == [(2, 5, 4, 8), (2, 5, 4, 8), (2, 5, 2, 8)]


def drifting() -> Attend:
    """Attention whose sums come out otherwise in every run."""
    turns = iter(range(100))
    return lambda q, k, v, how, scale: attention.attend(q * (1 + next(turns) * 2.0**-20), k, v, how, scale)


def compared(candidate: Candidate, shape: Shape) -> tuple[Found, Row]:
    found = exact_attention.measured(candidate, shape, CPU)
    return found, exact_attention.row(candidate, shape, found, 0.0, Beside(1.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("attend", "exact", "failed", "said"),
    [
        (lambda: attention.attend, True, False, "the same bits in 5 runs"),
        (drifting, True, True, "other bits in the output, the queries' gradient"),
        (drifting, False, False, "other bits in the output"),
    ],
    ids=["exact", "not exact, but should be", "need not be"],
)
def test_a_candidate_that_is_not_exact_but_should_be_has_failed(
    attend: Callable[[], Attend], exact: bool, failed: bool, said: str
) -> None:
    _, row = compared(Candidate("one", attend(), exact=exact), SHAPES[0])
    assert row.failed == failed
    assert said in row.setting


def rows_of(part: str, path: Path) -> list[Row]:
    exact_attention.run(Size("cpu"), Rows(path), part)
    return read(path)


def off(where: Callable[[Tensor], Tensor]) -> Attend:
    """Attention whose output [B, T, H, K] is off."""
    return lambda *given: where(attention.attend(*given))


@pytest.mark.parametrize(
    ("attend", "said"),
    [
        (lambda *given: attention.attend(*given), ""),
        (lambda q, k, v, how, scale: attention.attend(q, k, v, how, scale * 2), "too far off"),
        (lambda q, k, v, _, scale: attention.attend(q, k, v, None, scale), "too far off"),
        (off(lambda out: torch.cat([out[..., :-1, :], out[..., -1:, :] * 1.001], -2)), "too far off"),
        (off(lambda out: out * torch.nan), "too far off"),
        (off(lambda out: out[:, :, :, :7]), "failed: RuntimeError"),
    ],
    ids=["right", "scale", "no documents", "last head", "nan", "raises"],
)
def test_a_candidate_that_computes_something_else_has_failed(
    attend: Attend, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A figure of it would be worse than none; the other shapes are measured all the same."""
    monkeypatch.setattr(Candidate, "lacks", lambda *_: "")
    monkeypatch.setitem(attentions.CANDIDATES, "flash4", (Candidate("one", attend),))
    found = rows_of("flash4", tmp_path / "rows")
    assert len(found) == len(exact_attention.CPU)
    wrong = found[1]  # of several documents
    assert wrong.failed == bool(said)
    assert said in wrong.ours
    assert bool(wrong.ratio) != wrong.failed


def test_a_process_that_goes_on_measures_what_has_no_row_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (shape.name for shape in exact_attention.CPU)
    path = tmp_path / "rows"
    Rows(path).add(Row("one", f"{first}; the same bits", "1 ms"))
    Rows(path).add(Row("other", second, "failed: an error", failed=True))
    monkeypatch.setattr(Candidate, "lacks", lambda *_: "")
    made = tuple(Candidate(name, attention.attend) for name in ("one", "other"))
    monkeypatch.setitem(attentions.CANDIDATES, "flash4", made)
    found = [(row.what, row.setting.partition("; ")[0]) for row in rows_of("flash4", path)]
    assert sorted(found) == sorted({(name, shape) for name in ("one", "other") for shape in (first, second)})


def test_the_parts_of_the_section_are_the_candidates_and_the_first_says_what_they_are_made_of(tmp_path: Path) -> None:
    parts = [section.part for section in SECTIONS if section.module == "exact_attention"]
    assert parts == list(attentions.CANDIDATES)
    assert "C compiler /" in rows_of("torch", tmp_path / "rows")[0].ours


@pytest.mark.parametrize(("times", "failed"), [(1.9, False), (2.1, True), (float("nan"), True)])
def test_a_candidate_may_be_twice_as_far_from_fp64_as_the_fast_way(times: float, failed: bool) -> None:
    fast = Beside(milliseconds=1.0, off=1e-3, apart=1e-3)
    found = exact_attention.row(
        Candidate("one", attention.attend), SHAPES[0], Found(1.0, 0, [], []), times * 1e-3, fast
    )
    assert found.failed == failed


def test_bits_are_compared_and_not_numbers() -> None:
    zero, nan = torch.zeros(3), torch.full((3,), torch.nan)
    assert torch.equal(zero, -zero)
    assert not exact_attention.same(zero, -zero)
    assert exact_attention.same(nan.bfloat16(), nan.bfloat16())


@pytest.mark.parametrize("exact", [False, True])
def test_candidates_run_under_the_settings_of_a_stage(exact: bool) -> None:
    """torch fills new memory under deterministic algorithms unless that is switched off, which takes its own time."""
    found = []

    def attend(*given: Any) -> Tensor:
        found.append(
            (torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory)
        )
        return attention.attend(*given)

    exact_attention.measured(Candidate("one", attend, exact=exact), SHAPES[0], CPU)
    assert found == [(exact, False)] * (exact_attention.RUNS + 1)
    assert not torch.are_deterministic_algorithms_enabled()


def test_torchs_kernels_come_first_and_once_in_each_way() -> None:
    assert (FAST.exact, EXACT.exact) == (False, True)
    assert FAST.attend is EXACT.attend is attention.by_torch
    assert not any(candidate.lacks(torch.device("cuda")) for candidate in (FAST, EXACT))
    assert "needs a GPU" in Candidate("one", flash4.attend).lacks(CPU)
