"""Rows divided over context-parallel ranks attend as whole rows do: values, gradients, memory, refusals."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from stages.contract import memory_nemo
from stages.engines.nemo import context
from stages.engines.nemo.attention import PLAIN, DocumentAttention
from stages.models import attention as attention_of_rows
from stages.models import context_parallel
from stages.models.attention import attend
from stages.models.ops import choice
from tests.nemo.ranks import run
from tests.unit.engines.alive import Alive
from tests.unit.models.rows import documents
from tests.unit.models.test_attention import inputs, segments_of

ROWS = segments_of([(0, 10), (1, 50), (2, 36)], [(0, 70), (-1, 26)])
ONE_EACH = segments_of([(0, 96)], [(0, 96)])
SCALE = 8**-0.5  # of heads that are 8 wide: attention takes no other


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_every_position_has_one_rank_and_the_parts_give_the_row(ranks: int) -> None:
    row = torch.arange(24 * ranks)
    parts = [context.own(row, rank, ranks, dim=0) for rank in range(ranks)]
    assert len({len(part) for part in parts}) == 1
    assert torch.equal(torch.cat(parts).sort().values, row)
    assert torch.equal(context.whole(parts), row)


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_every_rank_has_the_same_work_of_a_causal_row(ranks: int) -> None:
    """Pairs of a query and a key: with contiguous parts the last rank of eight would have fifteen times the first's."""
    work = [sum(position + 1 for part in context.chunks(96, rank, ranks) for position in part) for rank in range(ranks)]
    assert len(set(work)) == 1


def test_core_cuts_its_angles_in_the_same_way() -> None:
    """Rank r of n has chunks r and 2n - 1 - r, as in Core's get_pos_emb_on_this_cp_rank."""
    assert context.chunks(16, 1, 2) == (range(4, 8), range(8, 12))
    assert context.chunks(16, 0, 2) == (range(0, 4), range(12, 16))


def test_scores_of_another_scale_than_the_heads_are_refused() -> None:
    config = SimpleNamespace(**{**PLAIN, "kv_channels": 8, "context_parallel_size": 1})
    with pytest.raises(ValueError, match=r"softmax_scale=0\.3: our attention multiplies scores by 0\.353553 only"):
        DocumentAttention(config, 1, None, "self", softmax_scale=0.3)


def test_a_row_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="rows of 98 positions are not divisible into the 4 chunks of 2 context-"):
        context.chunks(98, 0, 2)


def on_rank(segments: Tensor) -> tuple[list[Any], int]:
    """Attention over ranks, forward and backward: outputs, gradients, and the most that autograd kept in one tensor."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    q, k, v = inputs(segments, value=5)
    module = attention(dist.group.WORLD, ranks)
    parts = [context.own(x, rank, ranks).detach().transpose(0, 1).requires_grad_() for x in (q, k, v)]
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        out = module(*parts, segments)
    weight = torch.randn(*q.shape[:3], 5, generator=torch.Generator().manual_seed(9))
    (out * context.own(weight, rank, ranks).transpose(0, 1).flatten(2)).sum().backward()
    return [out.detach().numpy(), *(part.grad.numpy() for part in parts)], max(kept)


def attention(group: Any, ranks: int, **fields: Any) -> Any:
    config = SimpleNamespace(**{**PLAIN, "kv_channels": 8, "context_parallel_size": ranks, **fields})
    return DocumentAttention(config, 1, None, "self", softmax_scale=SCALE, pg_collection=SimpleNamespace(cp=group))


@pytest.fixture
def outside_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Megatron: no layer is computed again by it."""
    module = SimpleNamespace(is_checkpointing=lambda: False)
    monkeypatch.setitem(sys.modules, "megatron.core.tensor_parallel.random", module)


@pytest.mark.parametrize("segments", [ROWS, ONE_EACH], ids=["documents", "one-each"])
@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_compute_what_one_process_does_and_keep_only_their_share(
    ranks: int, segments: Tensor, outside_core: None
) -> None:
    q, k, v = inputs(segments, value=5)
    weight = torch.randn(*q.shape[:3], 5, generator=torch.Generator().manual_seed(9))
    out = attend(q, k, v, documents(segments), SCALE)
    wanted = [out, *torch.autograd.grad((out * weight).sum(), (q, k, v))]
    got = run(ranks, on_rank, segments)
    for number, want in enumerate(wanted):
        parts = [torch.from_numpy(values[number]) for values, _ in got]
        mine = context.whole(parts).transpose(0, 1).reshape(want.shape)
        torch.testing.assert_close(mine, want, rtol=1e-4, atol=1e-5)
    share = max(x.numel() for x in (q, k, v)) // ranks
    assert max(most for _, most in got) <= share  # no gathered keys and values wait for the backward pass


class Kernel(torch.autograd.Function):
    """The memory of an attention kernel: it keeps its inputs, and gives a gradient of the size of each."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        return q.clone()

    @staticmethod
    def backward(ctx: Any, grad: Any) -> tuple[Tensor, ...]:
        _, k, v = ctx.saved_tensors
        return grad.clone(), torch.zeros(k.shape), torch.zeros(v.shape)


class Copies:
    """Collectives of one rank of many, by copies."""

    @staticmethod
    def all_gather(parts: list[Tensor], part: Tensor, group: Any) -> None:
        for one in parts:
            one.copy_(part)

    @staticmethod
    def all_to_all_single(received: Tensor, sent: Tensor, group: Any) -> None:
        received.copy_(sent)


@pytest.mark.parametrize("segments", [1, 8], ids=["one-document", "documents"])
def test_a_rank_holds_no_more_of_whole_rows_than_the_plan_says(segments: int, monkeypatch: pytest.MonkeyPatch) -> None:
    length, ranks, groups, width = 2048, 16, 2, 32
    rows = torch.arange(segments, dtype=torch.int32).repeat_interleave(length // segments)[None]
    q, k, v = (torch.randn(length // ranks, 1, groups, width, requires_grad=True) for _ in "qkv")
    monkeypatch.setattr(context, "dist", Copies)
    monkeypatch.setattr(attention_of_rows, "in_rows", lambda q, k, v, scale: Kernel.apply(q, k, v))
    monkeypatch.setattr(context_parallel, "spans", lambda q, k, v, *_, **__: Kernel.apply(q, k, v))
    monkeypatch.setattr(choice, "attention", lambda *_: "flash_varlen")
    group = SimpleNamespace(rank=lambda: 0, size=lambda: ranks)
    with Alive() as alive:
        context.attend_over_ranks(q, k, v, rows, group, 1.0).sum().backward()
    of_whole_rows = 2 * length * groups * width * 4
    assert 2 < alive.peak / of_whole_rows <= memory_nemo.GATHERED


@pytest.mark.parametrize("wrong", [ROWS.long(), ROWS[:, :-2], ROWS[:1]], ids=["int64", "short", "rows"])
def test_segments_of_another_kind_are_refused(wrong: Tensor) -> None:
    module = attention(None, 1)
    q, k, v = (x.transpose(0, 1) for x in inputs(ROWS))
    with pytest.raises(ValueError, match=r"allowed: int32 \[2, 96\] on the host, whole rows on every rank"):
        module(q, k, v, wrong)


@pytest.mark.parametrize(("field", "value"), [
    ("attention_dropout", 0.1), ("apply_query_key_layer_scaling", True), ("window_size", (128, 0)),
    ("softmax_type", "learnable"),
])  # fmt: skip
def test_attention_of_another_kind_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        attention(None, 1, **{field: value})


def test_one_rank_computes_the_torch_engines_bits_layer_by_layer() -> None:
    q, k, v = inputs(ROWS)
    got = attention(None, 1)(*(x.transpose(0, 1) for x in (q, k, v)), ROWS)
    q, k, v = (x.transpose(0, 1).contiguous().transpose(0, 1) for x in (q, k, v))
    want = attend(q, k, v, documents(ROWS), SCALE)
    assert torch.equal(got, want.transpose(0, 1).flatten(2))
