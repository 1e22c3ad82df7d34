"""Causal attention inside documents.

A row may hold several documents (`Documents`). Rows of one document each attend causally as they are. Otherwise, on a
GPU in bf16, FlashAttention takes the documents' borders. Elsewhere the documents are laid out as rows of their own, in
a few batches of similar length, filled up at the end with copies of their last position: causality hides the filling
from every real query, so no mask is needed and no document can see another. On one CPU thread, forward and backward,
this takes 1.3 times as long as a dense mask at 128 positions a row (where attention is a small part of a step), as
long at 256, and a twentieth at 4096 with documents of 60 tokens (benchmarks/attention.py).

Determinism on a GPU, read in torch's sources: under `torch.set_deterministic_debug_mode("error")` the backward passes
of FlashAttention (with borders too) and of memory-efficient attention take their deterministic forms
(attention_backward.cu), and SDPA leaves out cuDNN's, which has none (sdp_utils.cpp). Under "warn" they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.models import attention_calls
from stages.models.common import for_products, take_rows
from stages.models.documents import Documents, Layout, Spans
from stages.models.ops import choice

READ = 16  # bytes
FRESH = torch.contiguous_format


@dataclass(frozen=True)
class Sight:
    """What causal attention sees: the products' scale, a window of keys (the query's own among them), capped scores."""

    scale: float
    window: int | None = None
    softcap: float | None = None

    def narrows(self, keys: int) -> bool:
        """Whether the window ends before the first of so many keys."""
        return self.window is not None and self.window < keys


def attend_in(q: Tensor, k: Tensor, v: Tensor, how: Documents | None, sight: Sight) -> Tensor:
    """`attend`, within a window and with capped scores, shapes alike.

    torch's kernels have no capped scores: rows are then computed with their scores whole, [B, H, T, T] in fp32. On a
    GPU in bf16 windows are FlashAttention's, elsewhere a mask for SDPA. The GPU's branch was never executed on a GPU.
    """
    if sight.softcap is None and not sight.narrows(k.shape[1]):
        return attend(q, k, v, how, sight.scale)
    if how is None:
        return seen_rows(q, k, v, sight)
    has: frozenset[choice.Feature] = choice.features() if sight.softcap is None else frozenset()
    match choice.attention(q.device.type, q.dtype, q.shape[-1], has):
        case "flash_varlen":
            flat = q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)
            return spans(*flat, how.spans, sight.scale, causal=True, window=sight.window).unflatten(0, q.shape[:2])
        case "sdpa":
            if how.one_a_row:
                return seen_rows(q, k, v, sight)
            return _laid_out(q, k, v, how.layout, lambda a, b, c: seen_rows(a, b, c, sight))


def seen_rows(q: Tensor, k: Tensor, v: Tensor, sight: Sight) -> Tensor:
    """Attention within rows as `in_rows`, of as many queries as keys, within a window and with capped scores."""
    length = k.shape[1]
    if sight.softcap is not None:
        unseen = _unseen(length, sight.window or length, torch.float32, q.device)
        return _capped_scores(q, k, v, sight.scale, sight.softcap, unseen)
    if not sight.narrows(length):
        return in_rows(q, k, v, sight.scale)
    unseen = _unseen(length, sight.window or length, for_products(q[:0]).dtype, q.device)  # as autocast casts queries
    return in_rows(q, k, v, sight.scale, unseen)


@lru_cache(maxsize=16)  # of one forward pass: all layers share it
def _unseen(length: int, window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What is added to scores [length, length]: 0 where a query sees a key, minus infinity elsewhere."""
    places = torch.arange(length, device=device)
    back = places[:, None] - places
    unseen = (back < 0) | (back >= window)
    return torch.zeros(length, length, dtype=dtype, device=device).masked_fill(unseen, -torch.inf)


def _capped_scores(q: Tensor, k: Tensor, v: Tensor, scale: float, softcap: float, unseen: Tensor) -> Tensor:
    """q [B, T, H, D], k and v [B, T, G, D], `unseen` fp32 [T, T] -> [B, T, H, D]; softmax in fp32."""
    grouped = q.unflatten(2, (k.shape[2], -1))
    scores = torch.einsum("bigrd,bjgd->bgrij", grouped, k).float() * scale
    seen = (softcap * (scores / softcap).tanh() + unseen).softmax(-1)
    return torch.einsum("bgrij,bjgd->bigrd", seen.to(v.dtype), v).flatten(2, 3)


def attend(q: Tensor, k: Tensor, v: Tensor, how: Documents | None, scale: float) -> Tensor:
    """Softmax attention: q [B, T, H, D], k [B, T, G, D], v [B, T, G, E] -> [B, T, H, E]; H a multiple of G, E <= D."""
    divided = choice.multiprocessors(q)
    if how is None or how.one_a_row:
        return in_calls(q, k, v, scale, divided) if divided else in_rows(q, k, v, scale)
    match choice.attention(q.device.type, q.dtype, q.shape[-1], choice.features()):
        case "flash_varlen":
            flat_q, flat_k, flat_v = q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)
            if divided:
                packed = in_runs(flat_q, flat_k, flat_v, how, scale, divided)
            else:
                packed = spans(flat_q, flat_k, flat_v, how.spans, scale, causal=True)
            return packed.unflatten(0, q.shape[:2])
        case "sdpa":
            return _laid_out(q, k, v, how.layout, lambda a, b, c: in_rows(a, b, c, scale))


def in_calls(q: Tensor, k: Tensor, v: Tensor, scale: float, processors: int) -> Tensor:
    """As `in_rows`, in the calls that suit a GPU's multiprocessors (`attention_calls`)."""
    share = q.shape[2] // k.shape[2]
    call = attention_calls.best(q.shape[0], q.shape[1], k.shape[2], share, processors)
    whole = []
    for rows_q, rows_k, rows_v in zip(q.split(call.rows), k.split(call.rows), v.split(call.rows), strict=True):
        heads = (rows_q.split(call.heads * share, 2), rows_k.split(call.heads, 2), rows_v.split(call.heads, 2))
        whole.append(_joined([in_rows(a, b, c, scale) for a, b, c in zip(*heads, strict=True)], 2))
    return _joined(whole, 0)


def in_runs(q: Tensor, k: Tensor, v: Tensor, how: Documents, scale: float, processors: int) -> Tensor:
    """As `spans`, causal, of all documents: long ones by `in_calls`, the short ones between them together."""
    runs, made = how.runs(q.shape[1], processors), []
    lengths = [run.length for run in runs]
    for run, a, b, c in zip(runs, q.split(lengths), k.split(lengths), v.split(lengths), strict=True):
        if run.alone:
            made.append(in_calls(a[None], b[None], c[None], scale, processors)[0])
        else:
            made.append(spans(a, b, c, run.spans, scale, causal=True))
    return _joined(made, 0)


def _joined(parts: Sequence[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim)


def spans(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    where: Spans,
    scale: float,
    causal: bool,
    queries: Spans | None = None,
    window: int | None = None,
) -> Tensor:
    """Attention of q [M, H, D] to k [N, G, D], v [N, G, E] within spans of N, by FlashAttention: [M, H, E].

    M is N unless the queries have spans of their own; where a span then has fewer queries than keys, a causal kernel
    takes them for the last ones. bf16, on a GPU; D a multiple of 8 up to 256. torch 2.11's kernel takes fewer heads of
    keys and values as they are; 2.12's wants the flag `enable_gqa` for it.
    """
    from torch.nn.attention import varlen

    kernel = varlen.varlen_attn
    grouped = {"enable_gqa": True} if "enable_gqa" in (kernel.__kwdefaults__ or ()) else {}
    seen = (-1 if window is None else window - 1, 0) if causal else (-1, -1)  # keys before and behind a query's own
    own, wide = queries or where, aligned(_widened(v, q.shape[-1]))
    out = kernel(
        aligned(q), aligned(k), wide, own.borders, where.borders, own.longest, where.longest, scale=scale,
        window_size=seen, **grouped,
    )  # fmt: skip
    return out[..., : v.shape[-1]]


def _laid_out(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, within: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Tensor:
    batch, length, heads, _ = q.shape
    laid_out = [take_rows(x.flatten(0, 1), layout.index, layout.inverse, None) for x in (q, k, v)]
    outputs, start = [], 0
    for rows, width in layout.shapes:
        batch_q, batch_k, batch_v = (x[start : start + rows * width].unflatten(0, (rows, width)) for x in laid_out)
        outputs.append(within(batch_q, batch_k, batch_v).flatten(0, 1))
        start += rows * width
    return take_rows(torch.cat(outputs), layout.inverse, layout.index, layout.real).view(batch, length, heads, -1)


def in_rows(q: Tensor, k: Tensor, v: Tensor, scale: float, unseen: Tensor | None = None) -> Tensor:
    """Attention within rows: q [B, M, H, D], k [B, N, G, D], v [B, N, G, E] -> [B, M, H, E].

    Where M < N the queries are those of the last M positions. `unseen` [N, N] is added to the scores in place of the
    causal mask, where it is given. Values narrower than keys (MLA) are widened, since fused kernels want equal widths.
    """
    width, groups = v.shape[-1], q.shape[2] // k.shape[2]
    if groups > 1 and choice.equal_heads(q.device.type, q.dtype):
        k, v, groups = k.repeat_interleave(groups, dim=2), v.repeat_interleave(groups, dim=2), 1
    fewer = unseen if q.shape[1] == k.shape[1] else _last_queries(q.shape[1], k.shape[1])
    v = _widened(v, q.shape[-1])
    if q.is_cuda:
        q, k, v = aligned(q), aligned(k), aligned(v)
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        attn_mask=fewer,
        is_causal=fewer is None,
        scale=scale,
        enable_gqa=groups > 1,
    )
    return out.transpose(1, 2)[..., :width]


def aligned(x: Tensor) -> Tensor:
    """x, copied if it is a view that begins or steps elsewhere than at multiples of 16 bytes.

    FlashAttention reads 16 bytes at once and does not look where: values cut out of a latent's product beside keys of
    four numbers a head, in bf16, ended in "misaligned address" (an H200, torch 2.11).
    """
    steps = (x.storage_offset(), *x.stride()[:-1])
    return x if all(step * x.element_size() % READ == 0 for step in steps) else x.clone(memory_format=FRESH)


def _last_queries(queries: int, keys: int) -> Any:
    """The mask of causal attention whose queries are those of the last positions."""
    from torch.nn.attention.bias import causal_lower_right  # it loads torch's compiler, which takes a second or two

    return causal_lower_right(queries, keys)


def _widened(v: Tensor, width: int) -> Tensor:
    """Values [..., E] with zeros behind, up to the width of the keys."""
    return v if v.shape[-1] == width else F.pad(v, (0, width - v.shape[-1]))
