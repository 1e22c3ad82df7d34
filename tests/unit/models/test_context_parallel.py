"""A stretch of a row attends as it would within the whole row, whatever documents it cuts through."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import varlen

from stages.models.attention import attend
from stages.models.context_parallel import Stretch, attend_stretch
from stages.models.ops import choice
from tests.unit.models.rows import documents
from tests.unit.models.test_attention import inputs, segments_of

ROWS = {
    "one-document": [(0, 96)],
    "cut-in-the-middle": [(0, 10), (1, 50), (2, 36)],
    "border-at-the-cut": [(0, 48), (1, 48)],
    "padded": [(0, 30), (1, 20), (-1, 46)],
    "many": [(number, 8) for number in range(12)],
}
CUTS = [(0, 48), (48, 96), (24, 72), (47, 49), (95, 96)]


@pytest.mark.parametrize("value", [8, 5], ids=["equal-widths", "narrow-values"])
@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_a_stretch_has_the_values_and_gradients_of_the_whole_row(row: str, cut: tuple[int, int], value: int) -> None:
    first, end = cut
    check(segments_of(ROWS[row]), first, end, value)


def check(segments: Tensor, first: int, end: int, value: int = 8) -> None:
    q, k, v = inputs(segments, value=value)
    weight = torch.randn(end - first, 4, value, generator=torch.Generator().manual_seed(9))
    stretch = Stretch(segments[0].numpy(), first, end, q.device)
    got = attend_stretch(q[0, first:end], k[0], v[0], stretch, 0.3)
    want = attend(q, k, v, documents(segments), 0.3)[0, first:end]
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    ours = torch.autograd.grad((got * weight).sum(), (q, k, v))
    theirs = torch.autograd.grad((want * weight).sum(), (q, k, v))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def lower_right_by_hand(
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
    """FlashAttention's rule for fewer queries than keys: query i of n sees keys up to i + m - n of m."""
    assert window_size == (-1, 0)
    outputs = []
    for (a, b), (start, end) in zip(pairwise(borders_q.tolist()), pairwise(borders_k.tolist()), strict=True):
        assert 0 < b - a <= longest_q
        assert b - a <= end - start <= longest_k
        mask = torch.ones(b - a, end - start, dtype=torch.bool).tril(end - start - b + a)
        own_q, own_k, own_v = (x.transpose(0, 1) for x in (q[a:b], k[start:end], v[start:end]))
        outputs.append(
            F.scaled_dot_product_attention(own_q, own_k, own_v, attn_mask=mask, scale=scale, enable_gqa=True)
        )
    return torch.cat([output.transpose(0, 1) for output in outputs])


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_the_borders_for_a_gpus_kernel_give_the_same(
    row: str, cut: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU in bf16, with torch's kernel done by hand."""
    segments = segments_of(ROWS[row])
    q, k, v = inputs(segments)
    first, end = cut
    want = attend(q, k, v, documents(segments), 0.3)[0, first:end]
    monkeypatch.setattr(choice, "attention", lambda *_: "flash_varlen")
    monkeypatch.setattr(varlen, "varlen_attn", lower_right_by_hand)
    stretch = Stretch(segments[0].numpy(), first, end, q.device)
    got = attend_stretch(q[0, first:end], k[0], v[0], stretch, 0.3)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


def test_what_lies_ahead_of_a_document_is_not_read() -> None:
    stretch = Stretch(segments_of([(0, 10), (1, 50), (2, 36)])[0].numpy(), 48, 96, torch.device("cpu"))
    assert (stretch.start, stretch.opening, stretch.ahead) == (10, 60, 38)


@pytest.mark.parametrize(("first", "end"), [(4, 4), (-1, 3), (0, 97)])
def test_no_stretch(first: int, end: int) -> None:
    with pytest.raises(ValueError, match="no stretch of a row of 96"):
        Stretch(segments_of([(0, 96)])[0].numpy(), first, end, torch.device("cpu"))
