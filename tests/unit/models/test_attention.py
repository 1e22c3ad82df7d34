"""Attention never crosses a document's border, and every plan gives what a plain mask gives."""

import pytest
import torch

from stages.models.attention import attend, plan


def segments_of(*rows):
    """Rows of (number, length) pairs."""
    return torch.tensor([[number for number, length in row for _ in range(length)] for row in rows], dtype=torch.int32)


SHORT = segments_of([(0, 5), (1, 30), (2, 1), (-1, 4)], [(0, 40)])
LONG = segments_of([(0, 70), (1, 1), (2, 200), (-1, 29)], [(0, 33), (1, 267)])


def inputs(segments, width=8, value=8, groups=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    batch, length = segments.shape
    return [
        torch.randn(batch, length, heads, size, generator=generator, requires_grad=True)
        for heads, size in ((4, width), (groups, width), (groups, value))
    ]


def by_definition(q, k, v, segments, scale):
    """Softmax over the allowed positions, in float64."""
    q, k, v = (x.double().transpose(1, 2) for x in (q, k, v))
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    allowed = (segments[:, None, :, None] == segments[:, None, None, :]).tril()
    return ((q @ k.mT * scale).masked_fill(~allowed, -torch.inf).softmax(-1) @ v).transpose(1, 2)


@pytest.mark.parametrize("value", [8, 5], ids=["equal-widths", "narrow-values"])
@pytest.mark.parametrize("groups", [4, 2], ids=["mha", "gqa"])
@pytest.mark.parametrize("segments", [SHORT, LONG], ids=["short", "long"])
def test_values_and_gradients_are_the_definition(segments, groups, value):
    q, k, v = inputs(segments, value=value, groups=groups)
    weight = torch.randn(*q.shape[:3], value, generator=torch.Generator().manual_seed(9))
    got = attend(q, k, v, plan(segments), 0.3)
    want = by_definition(q, k, v, segments, 0.3)
    torch.testing.assert_close(got, want.float(), rtol=1e-5, atol=1e-5)
    ours = torch.autograd.grad((got * weight).sum(), (q, k, v))
    theirs = torch.autograd.grad((want * weight).sum(), (q, k, v))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("segments", [SHORT, LONG], ids=["short", "long"])
def test_a_document_is_blind_to_the_others_exactly(segments):
    q, k, v = inputs(segments)
    changed = segments == 1
    noise = torch.randn(segments.shape, generator=torch.Generator().manual_seed(4)) * 50 * changed
    before = attend(q, k, v, plan(segments), 0.3)
    after = attend(*(x + noise[..., None, None] for x in (q, k, v)), plan(segments), 0.3)
    assert torch.equal(before[~changed], after[~changed])
    assert not torch.equal(before[changed], after[changed])
    for grad in torch.autograd.grad(before[~changed].sum(), (q, k, v)):
        assert not grad[changed].any()


@pytest.mark.parametrize("segments", [SHORT, LONG], ids=["short", "long"])
def test_padding_is_finite(segments):
    assert attend(*inputs(segments), plan(segments), 0.3).isfinite().all()


def test_rows_of_one_document_stay_as_they_are():
    assert plan(None) is None
    assert plan(torch.zeros(3, 7, dtype=torch.int32)) is None


def test_the_layout_holds_every_position_once_and_little_else():
    layout = plan(LONG)
    assert layout is not None
    assert torch.equal(layout.index[layout.inverse], torch.arange(LONG.numel()))
    assert int(layout.real.sum()) == LONG.numel()
    assert sum(rows * length for rows, length in layout.shapes) == len(layout.index) < 2 * LONG.numel()


def test_the_same_bits_twice():
    q, k, v = inputs(LONG)
    first, second = (torch.autograd.grad(attend(q, k, v, plan(LONG), 0.3).square().sum(), (q, k, v)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
