"""What the models of these folders share: norms, feed-forward parts, rotary positions, attention with a cache."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a gain (arXiv 1910.07467), in fp32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Shape [..., size] -> [..., size]."""
        wide = x.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (normed * self.weight.float()).to(x.dtype)


class SwiGLU(nn.Module):
    """Gated feed-forward network without biases (arXiv 2002.05202)."""

    def __init__(self, hidden: int, ffn: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden, ffn, bias=False)
        self.up_proj = nn.Linear(hidden, ffn, bias=False)
        self.down_proj = nn.Linear(ffn, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shape [..., hidden] -> [..., hidden]."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


def frequencies(config: Any, dim: int) -> list[float]:
    """Radians per position of the dim/2 rotated pairs, as the configuration of transformers 4 or 5 has them.

    Raises ValueError for a kind of scaling that is not default, linear, llama3, yarn, or longrope with equal factors.
    """
    given = _scaling(config)
    base = float(given["rope_theta"] if "rope_theta" in given else config.rope_theta)  # noqa: SIM401 (5 has it there only)
    plain = [base ** (-2 * pair / dim) for pair in range(dim // 2)]
    kind = given.get("rope_type", given.get("type", "default"))
    if kind == "default":
        return plain
    if kind == "linear":
        return [one / given["factor"] for one in plain]
    if kind == "llama3":
        return [_llama3(one, given) for one in plain]
    if kind == "longrope" and given["long_factor"] == given["short_factor"] and given.get("attention_factor") == 1.0:
        return [one / factor for one, factor in zip(plain, given["long_factor"], strict=True)]
    if kind == "yarn":
        return _yarn(plain, given, base, config.max_position_embeddings)
    raise ValueError(
        f"rope_scaling: found {kind!r}; allowed: default, linear, llama3, yarn, longrope with one set of factors"
    )


def factors(config: Any) -> tuple[float, float]:
    """YaRN (arXiv 2309.00071): what queries and keys are multiplied by, each, and latent attention's scores; else 1."""
    given = _scaling(config)
    if given.get("rope_type", given.get("type")) != "yarn":
        return 1.0, 1.0
    stated, rotated, whole = (given.get(key) for key in ("attention_factor", "mscale", "mscale_all_dim"))
    if stated is None:
        stated = _mscale(given, rotated) / _mscale(given, whole) if rotated and whole else _mscale(given, 1.0)
    return stated, _mscale(given, whole) ** 2 if whole else 1.0


def _scaling(config: Any) -> dict[str, Any]:
    return dict(getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {})


def _mscale(given: dict[str, Any], weight: float) -> float:
    return 0.1 * weight * math.log(given["factor"]) + 1 if given["factor"] > 1 else 1.0


def _yarn(plain: list[float], given: dict[str, Any], base: float, longest: int) -> list[float]:
    """YaRN's blend, by the numbers of the pairs, between no scaling (fast ones) and division by the factor (slow)."""
    dim, original = 2 * len(plain), given.get("original_max_position_embeddings") or longest
    low, high = (
        dim * math.log(original / (2 * math.pi * (given.get(key) or usual))) / (2 * math.log(base))
        for key, usual in (("beta_fast", 32), ("beta_slow", 1))
    )
    if given.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    slow = [min(1.0, max(0.0, (pair - low) / (high - low or 0.001))) for pair in range(len(plain))]
    return [one / given["factor"] * share + one * (1 - share) for one, share in zip(plain, slow, strict=True)]


def _llama3(frequency: float, given: dict[str, Any]) -> float:
    """Llama 3.1's blend between no scaling (fast pairs) and division by the factor (slow pairs)."""
    turns = given["original_max_position_embeddings"] * frequency / (2 * math.pi)
    low, high = given["low_freq_factor"], given["high_freq_factor"]
    if turns > high:
        return frequency
    if turns < low:
        return frequency / given["factor"]
    smooth = (turns - low) / (high - low)
    return (1 - smooth) * frequency / given["factor"] + smooth * frequency


def tables(positions: Tensor, found: list[float], factor: float) -> tuple[Tensor, Tensor]:
    """cos and sin, fp32 [B, T, 1, dim / 2], of positions int64 [B, T], times a factor."""
    turns = torch.tensor(found, dtype=torch.float64).float().to(positions.device)
    angles = positions[..., None, None].float() * turns
    return angles.cos() * factor, angles.sin() * factor


def rotate(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """Turn the pairs of x [B, T, heads, dim]: neighbours where interleaved, else halves."""
    wide = x.float()
    if interleaved:
        even, odd = wide.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).to(x.dtype)
    first, second = wide.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)


def cache(given: Any, wanted: bool) -> Any:
    """The cache to use: one that holds tokens, else a new one that grows by layers; None if none is wanted.

    What `generate` makes has as many layers as config.json says, and a looped model keeps each of them once a loop.
    """
    if not wanted:
        return None
    return given if given is not None and given.get_seq_length() > 0 else DynamicCache()


def places(mask: Tensor | None, batch: int, length: int, before: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Positions int64 [B, T] of the last `length` tokens, and which keys each may see: bool [B, 1, T, before + T].

    `mask` [B, before + T] is 0 for padding, which takes no position; a query sees itself in any case.
    """
    total = before + length
    if mask is None:
        mask = torch.ones(batch, total, dtype=torch.int64, device=device)
    positions = (mask.long().cumsum(-1) - 1).clamp(min=0)[:, before:total]
    query, key = torch.arange(before, total, device=device)[:, None], torch.arange(total, device=device)[None]
    seen = ((key <= query) & mask[:, None, :total].bool()) | (key == query)
    return positions, seen[:, None]


def attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, past: Any, layer: int, scale: float) -> Tensor:
    """Attention of q [B, T, H, D] to k [B, T, G, D], v [B, T, G, E] and what `past` has of the layer: [B, T, H * E]."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if past is not None:
        k, v = past.update(k, v, layer)
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale).transpose(1, 2).flatten(-2)


def loss(logits: Tensor, labels: Tensor | None) -> Tensor | None:
    """Mean cross entropy of the next tokens; labels [B, T], -100 where there is none."""
    if labels is None:
        return None
    return F.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
