"""Attention in several calls: the same numbers, and the division that keeps a GPU's multiprocessors busy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from stages.models import attention, attention_calls
from stages.models.attention_calls import Call
from stages.models.documents import Documents

H100 = 132  # multiprocessors


def whole(rows: int, length: int, groups: int, share: int) -> float:
    return attention_calls.time(rows * groups * share, -(-length // attention_calls.KEYS), H100)


def divided(rows: int, length: int, groups: int, share: int) -> float:
    call = attention_calls.best(rows, length, groups, share, H100)
    blocks = -(-length // attention_calls.KEYS)
    sizes = [
        a * b * share for a in attention_calls.parts(rows, call.rows) for b in attention_calls.parts(groups, call.heads)
    ]
    return sum(attention_calls.time(size, blocks, H100) for size in sizes)


def test_48_heads_take_two_waves_together_and_two_short_ones_divided() -> None:
    assert attention_calls.best(4, 8192, 12, 1, H100) == Call(rows=4, heads=11)
    assert divided(4, 8192, 12, 1) < 0.6 * whole(4, 8192, 12, 1)


def test_a_division_that_gains_nothing_is_not_made() -> None:
    assert attention_calls.best(1, 65_536, 12, 1, H100) == Call(rows=1, heads=12)
    assert attention_calls.best(11, 8192, 12, 1, H100) == Call(rows=11, heads=12)


@given(st.integers(1, 8), st.integers(1, 131_072), st.integers(1, 16), st.sampled_from([1, 2, 4, 8]))
def test_no_division_is_slower_than_none(rows: int, length: int, groups: int, share: int) -> None:
    assert divided(rows, length, groups, share) <= whole(rows, length, groups, share)


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=60), st.sampled_from([1, 8, 32]))
def test_every_document_is_in_one_run(lengths: list[int], heads: int) -> None:
    found = list(attention_calls.runs(lengths, heads, H100))
    assert [number for first, last in found for number in range(first, last)] == list(range(len(lengths)))


def test_a_document_that_others_would_wait_for_is_alone_and_equal_ones_are_together() -> None:
    assert list(attention_calls.runs([1000, 32_768, 900, 1500], 12, H100)) == [(0, 1), (1, 2), (2, 4)]
    assert list(attention_calls.runs([8192] * 8, 32, H100)) == [(0, 8)]
    assert list(attention_calls.runs([600] * 110, 12, H100)) == [(0, 110)]


@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 3)])
def test_calls_give_what_rows_give(heads: int, groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(3, 20, n, 8, generator=generator).requires_grad_() for n in (heads, groups, groups)]
    q, k, v = made
    plain = attention.in_rows(q, k, v, 0.3)
    wanted = torch.autograd.grad(plain.square().sum(), made)
    for call in (Call(3, groups), Call(1, groups), Call(3, 1), Call(2, 2), Call(1, 1)):
        monkeypatch.setattr(attention_calls, "best", lambda *_, call=call: call)
        out = attention.in_calls(q, k, v, 0.3, H100)
        assert torch.equal(out, plain), call
        for mine, other in zip(torch.autograd.grad(out.square().sum(), made), wanted, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6)


class Joined(TorchDispatchMode):
    """How often tensors are joined, in the backward pass too."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten.cat.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("call", "joins"), [(Call(3, 4), 0), (Call(1, 4), 4), (Call(3, 2), 4)])
def test_what_is_not_divided_is_not_copied(call: Call, joins: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the output is joined once, and the gradient of each of three inputs; a split into one part copied those."""
    monkeypatch.setattr(attention_calls, "best", lambda *_: call)
    q, k, v = made = [torch.randn(3, 20, 4, 8).requires_grad_() for _ in range(3)]
    with Joined() as found:
        torch.autograd.grad(attention.in_calls(q, k, v, 0.3, H100).square().sum(), made)
    assert found.count == joins


def test_runs_are_documents_with_borders_of_their_own() -> None:
    lengths = [300, 5000, 40, 60]
    segments = np.repeat(np.arange(4), lengths).astype(np.int32)[None]
    runs = Documents(segments, torch.device("cpu")).runs(12, H100)
    assert [(run.length, run.alone) for run in runs] == [(300, True), (5000, True), (100, False)]
    assert runs[2].spans.borders.tolist() == [0, 40, 100]
    assert runs[2].spans.longest == 60
