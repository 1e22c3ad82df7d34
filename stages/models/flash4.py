"""FlashAttention 4 (flash-attn-4) as one operation with its gradients.

`attention.attend` calls it where the package and a GPU for it are there, and `OPERATION` is one of `layers.ATTENTION`,
so that recomputed layers keep what it put out. Its functions are called as PyTorch's own registration of it does
(torch/nn/attention/_fa4.py), not through its autograd functions: those would be run again by recomputed layers. Under
deterministic algorithms its backward pass adds up in a fixed order: on an H200 it had the same bits in five runs, in
0.50 to 1.09 of the time of torch's kernels that add in any order (results/records/gpu_attention.md).

Shapes as in `stages.models.attention`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stages.models.documents import Documents

OPERATION = "stages::flash4"
FORWARD = "(Tensor q, Tensor k, Tensor v, Tensor? borders, int longest, float scale) -> (Tensor, Tensor)"
BACKWARD = (
    "(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor out, Tensor normalisers, Tensor? borders, int longest, "
    "float scale) -> (Tensor, Tensor, Tensor)"
)


def attend(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor, how: Documents | None, scale: float) -> Tensor:
    """Causal attention [B, T, H, K] within documents; bf16, K a multiple of 8 up to 256 on Hopper."""
    if how is None or how.one_a_row:
        return _flash4(q_BTHK, k_BTGK, v_BTGK, None, q_BTHK.shape[1], scale)[0]
    q_NHK, k_NGK, v_NGK = (x.flatten(0, 1) for x in (q_BTHK, k_BTGK, v_BTGK))
    out_NHK: Tensor = _flash4(q_NHK, k_NGK, v_NGK, how.spans.borders, how.spans.longest, scale)[0]
    return out_NHK.unflatten(0, q_BTHK.shape[:2])


@torch.library.custom_op(OPERATION, mutates_args=(), schema=FORWARD)
def _flash4(q: Tensor, k: Tensor, v: Tensor, borders: Tensor | None, longest: int, scale: float) -> Any:
    """Output, and the logarithm of each softmax's sum."""
    from flash_attn.cute.interface import _flash_attn_fwd

    asked = {"softmax_scale": scale, "causal": True, "return_lse": True}
    return tuple(_flash_attn_fwd(q, k, v, **asked, **_lengths(borders, longest))[:2])


@_flash4.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, borders: Tensor | None, longest: int, scale: float) -> Any:
    heads_last = q.transpose(-3, -2)
    return torch.empty_like(q), q.new_empty(heads_last.shape[:-1], dtype=torch.float32)


@torch.library.custom_op(f"{OPERATION}_backward", mutates_args=(), schema=BACKWARD)
def _flash4_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, normalisers: Tensor, borders: Tensor | None,
    longest: int, scale: float,
) -> Any:  # fmt: skip
    from flash_attn.cute.interface import _flash_attn_bwd

    asked = {"softmax_scale": scale, "causal": True, "deterministic": torch.are_deterministic_algorithms_enabled()}
    return tuple(_flash_attn_bwd(q, k, v, out, grad, normalisers, **asked, **_lengths(borders, longest))[:3])


@_flash4_backward.register_fake
def _(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: Any) -> Any:
    return tuple(torch.empty_like(x) for x in (q, k, v))


def _lengths(borders: Tensor | None, longest: int) -> dict[str, Any]:
    """How queries and keys, which are as many, are divided into documents."""
    if borders is None:
        return {}
    names = (("cu_seqlens_q", "cu_seqlens_k"), ("max_seqlen_q", "max_seqlen_k"))
    return dict.fromkeys(names[0], borders) | dict.fromkeys(names[1], longest)


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    q, k, v, borders, ctx.longest, ctx.scale = inputs
    ctx.save_for_backward(q, k, v, *output, borders)
    ctx.mark_non_differentiable(output[1])


def _differentiated(ctx: Any, grad: Tensor, _: Any) -> Any:
    q, k, v, out, normalisers, borders = ctx.saved_tensors
    rest = (out, normalisers, borders, ctx.longest, ctx.scale)
    return *_flash4_backward(grad.contiguous(), q, k, v, *rest), None, None, None


_flash4.register_autograd(_differentiated, setup_context=_keep)
