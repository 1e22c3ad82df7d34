"""Attention whose backward pass has the same bits in every run: candidates for `determinism: exact` on a GPU.

Each takes queries [B, T, H, K], keys [B, T, G, K], values [B, T, G, K], where the documents are, and the products'
scale, as `stages.models.attention.attend` does, and is measured in `exact_attention` beside what torch has. In use is
FlashAttention 4 (stages/models/flash4.py), the fastest of them on an H200 (results/records/gpu_attention.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.models import attention, flash4
from stages.models.documents import Documents

Attend = Callable[[Tensor, Tensor, Tensor, Documents, float], Tensor]
BLOCK = 128  # queries, and keys, of a block of FlexAttention
ROUND, WORKSPACE = 64, 16 << 30  # what cuDNN rounds lengths up to; bytes that its gradients of scores may take


@dataclass(frozen=True)
class Candidate:
    """A way to attend, whether it has to have the same bits in every run, and the package that it needs."""

    name: str
    attend: Attend
    exact: bool = True
    needs: str = "torch"

    def lacks(self, device: torch.device) -> str:
        """Why it cannot be measured here; "" where it can."""
        if find_spec(self.needs) is None:
            return f"{self.needs} is not installed"
        return "" if device.type == "cuda" or self.attend is in_use else "needs a GPU"


def flex(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor, how: Documents, scale: float) -> Tensor:
    """FlexAttention: its kernel computes a block's gradients where they are stored, without sums over blocks."""
    mask = blocks(how.lengths, q_BTHK.device)
    rows = (x.flatten(0, 1).transpose(0, 1)[None] for x in (q_BTHK, k_BTGK, v_BTGK))
    out = _flex(q_BTHK.device.type)(*rows, block_mask=mask, scale=scale, enable_gqa=q_BTHK.shape[2] > k_BTGK.shape[2])
    return out[0].transpose(0, 1).unflatten(0, q_BTHK.shape[:2])


@cache
def _flex(device: str) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    if device == "cpu":
        return flex_attention  # whole scores
    # What cannot be compiled whole is an error: it would run as on a CPU, and be measured as if it were this kernel.
    return torch.compile(flex_attention, dynamic=False, fullgraph=True)


@lru_cache(maxsize=2)
def blocks(lengths: tuple[int, ...], device: torch.device) -> Any:
    """The block mask of causal attention within documents of these lengths, one after another."""
    from torch.nn.attention.flex_attention import BlockMask

    begins = np.repeat(np.cumsum((0, *lengths[:-1])), lengths)  # where each position's document begins
    count = -(-len(begins) // BLOCK)
    first, last = begins[::BLOCK], begins[np.minimum(np.arange(1, count + 1) * BLOCK, len(begins)) - 1]
    queries, keys = np.arange(count)[:, None], np.arange(count)
    some = (keys <= queries) & ((keys + 1) * BLOCK > first[:, None])
    # All of them: the block has all its queries, each after the keys, of a document that began before them.
    whole = some & (keys < queries) & (last[:, None] <= keys * BLOCK) & ((queries + 1) * BLOCK <= len(begins))
    tables = [table for seen in (some & ~whole, whole) for table in _tables(seen, device)]
    start = torch.from_numpy(begins.astype(np.int32)).to(device)

    def seen(_row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (key >= start[query])

    return BlockMask.from_kv_blocks(*tables, BLOCK_SIZE=BLOCK, mask_mod=seen, seq_lengths=(len(begins),) * 2)


def _tables(seen: np.ndarray[Any, Any], device: torch.device) -> tuple[Tensor, Tensor]:
    """How many blocks of keys each block of queries sees, and which, those first."""
    order = np.argsort(~seen, axis=1, kind="stable")
    return tuple(torch.from_numpy(x.astype(np.int32)[None, None]).to(device) for x in (seen.sum(1), order))


def cudnn(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor, how: Documents, scale: float) -> Tensor:
    """cuDNN, its backward pass in the deterministic form, which torch does not ask it for (nvidia-cudnn-frontend).

    It keeps the gradients of all scores, so heads are taken a few at a time. Short documents are FlashAttention 2's.
    """
    processors = torch.cuda.get_device_properties(q_BTHK.device).multi_processor_count
    if how.one_a_row:
        return _few_heads(q_BTHK, k_BTGK, v_BTGK, scale)
    parts, flat = [], [x.flatten(0, 1) for x in (q_BTHK, k_BTGK, v_BTGK)]
    runs = how.runs(q_BTHK.shape[2], processors)
    for run, q, k, v in zip(runs, *(x.split([run.length for run in runs]) for x in flat), strict=True):
        if run.alone:
            parts.append(_few_heads(q[None], k[None], v[None], scale)[0])
        else:
            parts.append(attention.spans(q, k, v, run.spans, scale, causal=True))
    return torch.cat(parts).unflatten(0, q_BTHK.shape[:2])


def heads_at_once(rows: int, length: int, groups: int, share: int) -> int:
    """Key heads of one call of cuDNN, each read by `share` query heads."""
    one = rows * share * (-(-length // ROUND) * ROUND) ** 2 * 2
    return min(groups, max(1, WORKSPACE // one))


def _few_heads(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor, scale: float) -> Tensor:
    rows, length, heads, _ = q_BTHK.shape
    groups = k_BTGK.shape[2]
    call = heads_at_once(rows, length, groups, heads // groups)
    parts = zip(q_BTHK.split(call * heads // groups, 2), k_BTGK.split(call, 2), v_BTGK.split(call, 2), strict=True)
    return torch.cat([_CuDNN.apply(q, k, v, scale) for q, k, v in parts], 2)


class _CuDNN(torch.autograd.Function):
    """torch's forward pass by cuDNN, and cuDNN's own backward pass, causal, within rows."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        kernel = torch.ops.aten._scaled_dot_product_cudnn_attention
        turned = [x.transpose(1, 2) for x in (q, k, v)]
        out, normalisers = kernel(*turned, None, True, 0.0, True, False, scale=scale)[:2]
        ctx.save_for_backward(*turned, out, normalisers.reshape(*out.shape[:3], 1))
        ctx.scale = scale
        return out.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        q, k, v, out, normalisers = ctx.saved_tensors
        grad = torch.empty_like(out).copy_(grads[0].transpose(1, 2))
        made = [torch.empty_like(x) for x in (q, k, v)]
        tensors = dict(zip(GIVEN + MADE, (q, k, v, out, grad, normalisers, *made), strict=True))
        graph, names = plan({name: (tuple(x.shape), x.stride()) for name, x in tensors.items()}, ctx.scale, _handle())
        space = torch.empty(graph.get_workspace_size(), dtype=torch.uint8, device=q.device)
        graph.execute({names[name]: x for name, x in tensors.items()}, space, handle=_handle())
        return *(x.transpose(1, 2) for x in made), None


GIVEN, MADE = ("q", "k", "v", "o", "dO", "stats"), ("dQ", "dK", "dV")
Laid = dict[str, tuple[tuple[int, ...], tuple[int, ...]]]  # tensor -> shape [rows, heads, positions, width] and strides
_plans: dict[Any, tuple[Any, dict[str, Any]]] = {}


def plan(laid: Laid, scale: float, handle: Any = None, **device: Any) -> tuple[Any, dict[str, Any]]:
    """cuDNN's deterministic backward pass for tensors that lie so, and its tensors by name; made once for each."""
    key = (*laid.items(), scale)
    if key not in _plans:
        import cudnn as frontend

        half, single = frontend.data_type.BFLOAT16, frontend.data_type.FLOAT
        graph = frontend.pygraph(
            io_data_type=half, intermediate_data_type=single, compute_data_type=single, handle=handle, **device
        )
        names = {
            name: graph.tensor(
                name=name, dim=laid[name][0], stride=laid[name][1], data_type=single if name == "stats" else half
            )
            for name in GIVEN
        }
        found = graph.sdpa_backward(**names, attn_scale=scale, use_causal_mask=True, use_deterministic_algorithm=True)
        for name, made in zip(MADE, found, strict=True):
            names[name] = made.set_output(True).set_dim(laid[name][0]).set_stride(laid[name][1]).set_data_type(half)
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([frontend.heur_mode.A])
        graph.check_support()
        graph.build_plans()
        _plans[key] = graph, names
    return _plans[key]


@cache
def _made_handle() -> Any:
    import cudnn as frontend

    return frontend.create_handle()


def _handle() -> Any:
    """cuDNN's, on torch's current stream."""
    import cudnn as frontend

    handle = _made_handle()
    frontend.set_stream(handle=handle, stream=torch.cuda.current_stream().cuda_stream)
    return handle


def in_use(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor, how: Documents, scale: float) -> Tensor:
    """What stages take where FlashAttention 4 is not installed."""
    return attention.by_torch(q_BTHK, k_BTGK, v_BTGK, how, scale)


FAST = Candidate("fast now: cuDNN, FlashAttention 2 for documents", in_use, exact=False)
EXACT = Candidate("exact now: FlashAttention 2", in_use)
CANDIDATES = {  # by the part of the section: a process of its own
    "now": (FAST, EXACT),
    "flash4": (
        Candidate("exact: FlashAttention 4", flash4.attend, needs="flash_attn"),
        Candidate("fast: FlashAttention 4", flash4.attend, exact=False, needs="flash_attn"),
    ),
    "flex": (Candidate("exact: FlexAttention", flex),),
    "cudnn": (Candidate("exact: cuDNN by its frontend", cudnn, needs="cudnn"),),
}
