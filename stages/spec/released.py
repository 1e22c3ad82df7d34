"""What config.json of a released model has: the figures that a family's file gives for its published models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Figures = Mapping[str, str]


@dataclass(frozen=True)
class Released:
    """Figures as specs write them: of the family's fields, and of rotary positions."""

    model: Figures
    rope: Figures


def grouped(layers: int, hidden: int, ffn: int, heads: int, kv: int, vocab: int, eps: str, head: int = 0) -> Figures:
    """The fields of a model with grouped-query attention; `head` is the size of a head where it is no quotient."""
    sizes = {"layers": layers, "hidden": hidden, "ffn": ffn, "heads": heads, "kv_heads": kv, "vocab": vocab}
    return {key: str(size) for key, size in sizes.items()} | {"norm_eps": eps, "head_dim": str(head or hidden // heads)}


def rotary(base: str) -> Figures:
    """Positions as they are, without scaling."""
    return {"base": base, "interpolation": "1"}
