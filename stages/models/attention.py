"""Causal attention inside documents.

A row may have several documents (`Documents`). On a GPU of compute capability 9, FlashAttention 4 takes all of it where
it is installed. Else rows of one document each attend causally as they are. Otherwise, on a GPU in bf16, FlashAttention
takes the documents' borders. Elsewhere the documents are laid out as rows of their own, in a few batches of similar
length, filled up at the end with copies of their last position: causality hides the filling from every real query, so
no mask is needed and no document can see another. On one CPU thread, forward and backward, this takes 1.3 times as long
as a dense mask at 128 positions a row (where attention is a small part of a step), as long at 256, and a twentieth at
4096 with documents of 60 tokens (benchmarks/attention.py).

Determinism on a GPU, read in torch's sources: under `torch.set_deterministic_debug_mode("error")` the backward passes
of FlashAttention (with borders too) and of memory-efficient attention take their deterministic forms
(attention_backward.cu), and SDPA leaves out cuDNN's, which has none (sdp_utils.cpp). Under "warn" they do not.

Shapes: B rows, T positions, M queries where they are fewer than the keys, N positions of all rows (n of one call),
H query heads, G key heads, R query heads of one key head, K a key's width, E a value's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.models import attention_calls, masks
from stages.models.common import for_products, take_rows
from stages.models.documents import Documents, Layout, Spans, whole_rows
from stages.models.ops import choice

READ = 16  # bytes


@dataclass(frozen=True)
class Sight:
    """What causal attention sees: the products' scale, a window of keys (the query's own among them), capped scores."""

    scale: float
    window: int | None = None
    softcap: float | None = None

    def narrows(self, keys: int) -> bool:
        """Whether the window ends before the first of so many keys."""
        return self.window is not None and self.window < keys


def attend_in(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGE: Tensor, how: Documents | None, sight: Sight) -> Tensor:
    """`attend`, within a window and with capped scores, shapes alike.

    torch's kernels have no capped scores: rows are then computed with their scores whole, [B, H, T, T] in fp32. On a
    GPU in bf16 windows are FlashAttention's, in whole rows too; elsewhere a mask for SDPA.
    """
    if sight.softcap is None and not sight.narrows(k_BTGK.shape[1]):
        return attend(q_BTHK, k_BTGK, v_BTGE, how, sight.scale)
    has: frozenset[choice.Feature] = choice.features() if sight.softcap is None else frozenset()
    match choice.attention(q_BTHK.device.type, q_BTHK.dtype, q_BTHK.shape[-1], has):
        case "flash_varlen":
            rows, length = q_BTHK.shape[:2]
            where = whole_rows(rows, length, q_BTHK.device) if how is None else how.spans
            flat = q_BTHK.flatten(0, 1), k_BTGK.flatten(0, 1), v_BTGE.flatten(0, 1)
            return spans(*flat, where, sight.scale, causal=True, window=sight.window).unflatten(0, q_BTHK.shape[:2])
        case "sdpa":
            if how is None or how.one_a_row:
                return seen_rows(q_BTHK, k_BTGK, v_BTGE, sight)
            return _laid_out(q_BTHK, k_BTGK, v_BTGE, how.layout, lambda a, b, c: seen_rows(a, b, c, sight))


def seen_rows(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGE: Tensor, sight: Sight) -> Tensor:
    """Attention within rows as `in_rows`, of as many queries as keys, within a window and with capped scores."""
    length = k_BTGK.shape[1]
    if sight.softcap is not None:
        unseen_TT = masks.unseen(length, sight.window, torch.float32, q_BTHK.device)
        return _capped_scores(q_BTHK, k_BTGK, v_BTGE, sight.scale, sight.softcap, unseen_TT)
    if not sight.narrows(length):
        return in_rows(q_BTHK, k_BTGK, v_BTGE, sight.scale)
    # In the type that autocast casts the queries to.
    unseen_TT = masks.unseen(length, sight.window, for_products(q_BTHK[:0]).dtype, q_BTHK.device)
    return in_rows(q_BTHK, k_BTGK, v_BTGE, sight.scale, unseen_TT)


def _capped_scores(
    q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor, scale: float, softcap: float, unseen_TT: Tensor
) -> Tensor:
    """Attention [B, T, H, K] with capped scores, their softmax in fp32; `unseen_TT` is fp32 too."""
    q_BTGRK = q_BTHK.unflatten(2, (k_BTGK.shape[2], -1))
    scores_BGRTT = torch.einsum("bigrd,bjgd->bgrij", q_BTGRK, k_BTGK).float() * scale
    seen_BGRTT = (softcap * (scores_BGRTT / softcap).tanh() + unseen_TT).softmax(-1)
    return torch.einsum("bgrij,bjgd->bigrd", seen_BGRTT.to(v_BTGK.dtype), v_BTGK).flatten(2, 3)


def attend(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGE: Tensor, how: Documents | None, scale: float) -> Tensor:
    """Softmax attention [B, T, H, E]; H a multiple of G, E <= K."""
    if not choice.flash4(q_BTHK.device.type, q_BTHK.dtype, q_BTHK.shape[-1], choice.features()):
        return by_torch(q_BTHK, k_BTGK, v_BTGE, how, scale)
    from stages.models import flash4  # it registers an operation, which only such a GPU needs

    wide_BTGK = aligned(widened(v_BTGE, q_BTHK.shape[-1]))
    return flash4.attend(aligned(q_BTHK), aligned(k_BTGK), wide_BTGK, how, scale)[..., : v_BTGE.shape[-1]]


def by_torch(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGE: Tensor, how: Documents | None, scale: float) -> Tensor:
    """The same by torch's own kernels."""
    divided = choice.multiprocessors(q_BTHK)
    if how is None or how.one_a_row:
        return in_calls(q_BTHK, k_BTGK, v_BTGE, scale, divided) if divided else in_rows(q_BTHK, k_BTGK, v_BTGE, scale)
    match choice.attention(q_BTHK.device.type, q_BTHK.dtype, q_BTHK.shape[-1], choice.features()):
        case "flash_varlen":
            q_NHK, k_NGK, v_NGE = q_BTHK.flatten(0, 1), k_BTGK.flatten(0, 1), v_BTGE.flatten(0, 1)
            if divided:
                out_NHE = in_runs(q_NHK, k_NGK, v_NGE, how, scale, divided)
            else:
                out_NHE = spans(q_NHK, k_NGK, v_NGE, how.spans, scale, causal=True)
            return out_NHE.unflatten(0, q_BTHK.shape[:2])
        case "sdpa":
            return _laid_out(q_BTHK, k_BTGK, v_BTGE, how.layout, lambda a, b, c: in_rows(a, b, c, scale))


def in_calls(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGE: Tensor, scale: float, processors: int) -> Tensor:
    """As `in_rows`, in the calls that suit a GPU's multiprocessors (`attention_calls`)."""
    share = q_BTHK.shape[2] // k_BTGK.shape[2]
    call = attention_calls.best(q_BTHK.shape[0], q_BTHK.shape[1], k_BTGK.shape[2], share, processors)
    whole = []
    for rows in zip(*(_split(x, call.rows, 0) for x in (q_BTHK, k_BTGK, v_BTGE)), strict=True):
        heads = (_split(x, call.heads * times, 2) for x, times in zip(rows, (share, 1, 1), strict=True))
        whole.append(_joined([in_rows(a, b, c, scale) for a, b, c in zip(*heads, strict=True)], 2))
    return _joined(whole, 0)


def in_runs(q_NHK: Tensor, k_NGK: Tensor, v_NGE: Tensor, how: Documents, scale: float, processors: int) -> Tensor:
    """As `spans`, causal, of all documents: long ones by `in_calls`, the short ones between them together."""
    runs, made = how.runs(q_NHK.shape[1], processors), []
    lengths = [run.length for run in runs]
    for run, q_nHK, k_nGK, v_nGE in zip(runs, *(_split(x, lengths, 0) for x in (q_NHK, k_NGK, v_NGE)), strict=True):
        if run.alone:
            made.append(in_calls(q_nHK[None], k_nGK[None], v_nGE[None], scale, processors)[0])
        else:
            made.append(spans(q_nHK, k_nGK, v_nGE, run.spans, scale, causal=True))
    return _joined(made, 0)


def _split(x: Tensor, sizes: int | list[int], dim: int) -> Sequence[Tensor]:
    """`Tensor.split`, whose backward pass copies even where there is one part: then x itself."""
    first = sizes if isinstance(sizes, int) else sizes[0]
    return [x] if first >= x.shape[dim] else x.split(sizes, dim)


def _joined(parts: Sequence[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim)


def spans(
    q_MHK: Tensor,
    k_NGK: Tensor,
    v_NGE: Tensor,
    where: Spans,
    scale: float,
    causal: bool,
    queries: Spans | None = None,
    window: int | None = None,
) -> Tensor:
    """Attention within spans of N, by FlashAttention: [M, H, E].

    M is N unless the queries have spans of their own; where a span then has fewer queries than keys, a causal kernel
    takes them for the last ones. bf16, on a GPU; K a multiple of 8 up to 256. torch 2.11's kernel takes fewer heads of
    keys and values as they are; 2.12's wants the flag `enable_gqa` for it.
    """
    from torch.nn.attention import varlen

    kernel = varlen.varlen_attn
    grouped = {"enable_gqa": True} if "enable_gqa" in (kernel.__kwdefaults__ or ()) else {}
    seen = (-1 if window is None else window - 1, 0) if causal else (-1, -1)  # keys before and behind a query's own
    own, v_NGK = queries or where, aligned(widened(v_NGE, q_MHK.shape[-1]))
    out_MHK = kernel(
        aligned(q_MHK), aligned(k_NGK), v_NGK, own.borders, where.borders, own.longest, where.longest, scale=scale,
        window_size=seen, **grouped,
    )  # fmt: skip
    return out_MHK[..., : v_NGE.shape[-1]]


def _laid_out(
    q_BTHK: Tensor, k_BTGK: Tensor, v_BTGE: Tensor, layout: Layout, within: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Tensor:
    batch, length, heads, _ = q_BTHK.shape
    laid_out = [take_rows(x.flatten(0, 1), layout.index, layout.inverse, None) for x in (q_BTHK, k_BTGK, v_BTGE)]
    outputs, start = [], 0
    for rows, width in layout.shapes:
        batch_q, batch_k, batch_v = (x[start : start + rows * width].unflatten(0, (rows, width)) for x in laid_out)
        outputs.append(within(batch_q, batch_k, batch_v).flatten(0, 1))
        start += rows * width
    return take_rows(torch.cat(outputs), layout.inverse, layout.index, layout.real).view(batch, length, heads, -1)


def in_rows(q: Tensor, k: Tensor, v: Tensor, scale: float, unseen: Tensor | None = None) -> Tensor:
    """Attention within rows: q [B, M, H, K], k [B, T, G, K], v [B, T, G, E] -> [B, M, H, E].

    Where M < T the queries are those of the last M positions. `unseen` [T, T] is added to the scores in place of the
    causal mask, where it is given. Values narrower than keys (MLA) are widened, since fused kernels want equal widths.
    """
    width, groups = v.shape[-1], q.shape[2] // k.shape[2]
    if groups > 1 and choice.equal_heads(q.device.type, q.dtype, q.shape[-1], unseen is not None):
        k, v, groups = k.repeat_interleave(groups, dim=2), v.repeat_interleave(groups, dim=2), 1
    fewer = unseen if q.shape[1] == k.shape[1] else _last_queries(q.shape[1], k.shape[1])
    v = widened(v, q.shape[-1])
    if q.is_cuda:
        q, k, v = aligned(q), aligned(k), aligned(v)
    out_BHMK = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        attn_mask=fewer,
        is_causal=fewer is None,
        scale=scale,
        enable_gqa=groups > 1,
    )
    return out_BHMK.transpose(1, 2)[..., :width]


def aligned(x: Tensor) -> Tensor:
    """x, copied if it is a view that begins or steps elsewhere than at multiples of 16 bytes.

    FlashAttention reads 16 bytes at once and does not look where: values cut out of a latent's product next to keys of
    four numbers a head, in bf16, ended in "misaligned address" (an H200, torch 2.11).
    """
    if any(step * x.element_size() % READ for step in (x.storage_offset(), *x.stride()[:-1])):
        return x.clone(memory_format=torch.contiguous_format)
    return x


def _last_queries(queries: int, keys: int) -> Any:
    """The mask of causal attention whose queries are those of the last positions."""
    from torch.nn.attention.bias import causal_lower_right  # it loads torch's compiler, which takes a second or two

    return causal_lower_right(queries, keys)


def widened(x: Tensor, width: int) -> Tensor:
    """Heads [..., E] with zeros behind, up to a width; as they are where they are no narrower.

    Kernels want queries, keys and values of one width. Zeros add nothing to scores, whose scale is the caller's.
    """
    return x if x.shape[-1] >= width else F.pad(x, (0, width - x.shape[-1]))
