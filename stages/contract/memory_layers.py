"""What a layer keeps for its backward pass, in the models of stages/models: numbers a position.

Read off the models and measured tensor by tensor (tests/unit/plan/test_memory_layers.py). `stream` are numbers of the
residual stream's width around norms: in mixed precision most are there in fp32, and what matrices read in bf16.
`inner` are what attention and feed-forward parts make: in the precision of products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from stages.spec.resolved_models import (
    CaptionDecoderModel,
    ContrastiveModel,
    LlamaModel,
    Model,
    MoonlightModel,
    MoonViTModel,
    OuroModel,
    TextTowerModel,
)

FP32, HALF = 4, 2
STREAM = 4.1  # bytes of a number of the stream in mixed precision: most are fp32, some have a copy in bf16
EXPERT_BLOCK = 16  # rows of an expert are filled up to a multiple of this (stages/models/moe.py)
FILLING = 0.25  # positions that rows of documents are filled up with, as a share: lengths of one batch are similar
Encoder = MoonViTModel | TextTowerModel | CaptionDecoderModel | ContrastiveModel


@dataclass(frozen=True)
class Kept:
    """Numbers a position that one layer keeps."""

    stream: float
    inner: float

    def bytes(self, bf16: bool) -> float:
        """Bytes a position."""
        return STREAM * self.stream + HALF * self.inner if bf16 else FP32 * (self.stream + self.inner)


def layers(model: Model) -> int:
    """Layers of a module; the contrastive head counts as one, the projector as none."""
    match model.family:
        case "llama" | "ouro" | "moonlight" | "moonvit" | "text_tower" | "caption_decoder":
            return model.layers
        case "contrastive":
            return 1
        case "projector":
            return 0
        case _:
            assert_never(model)


def kept(model: Model, documents: bool, positions: float) -> Kept:
    """What a layer keeps; of a mixture of experts, one with experts. `documents`: they are masked from each other.

    `positions` are those computed at once: filled-up blocks of experts weigh the more the fewer there are.
    """
    match model.family:
        case "llama":
            return Kept(4 * model.hidden + 2, _grouped(model, documents) + 4 * model.ffn)
        case "ouro":  # two norms more, whose outputs are added and not kept
            return Kept(6 * model.hidden + 4, _grouped(model, documents) + 4 * model.ffn)
        case "moonlight":
            return _moonlight(model, documents, positions)
        case "moonvit":
            return _encoder(model, rotated=3)
        case "text_tower" | "contrastive":
            return _encoder(model)
        case "caption_decoder":
            return _encoder(model, crossed=True)
        case "projector":
            return Kept(0, 0)
        case _:
            assert_never(model)


def attended(model: Model, documents: bool, bf16: bool) -> float:
    """Bytes a position that a layer keeps beside its input where it is recomputed: attention's outputs, and in fp32
    each head's normaliser.
    """
    match model.family:
        case "llama" | "ouro":
            width, heads = model.heads * model.head_dim, model.heads
        case "moonlight":  # as wide as its keys
            width, heads = model.heads * (model.qk_nope_dim + model.qk_rope_dim), model.heads
        case "moonvit" | "text_tower" | "contrastive":
            width, heads = model.hidden, model.heads
        case "caption_decoder":
            width, heads = 2 * model.hidden, 2 * model.heads
        case "projector":
            return 0
        case _:
            assert_never(model)
    kept = (HALF if bf16 else FP32) * width + FP32 * heads
    return kept * (1 + FILLING) if documents else kept


def _attention(queries: float, heads: int, into_output: float, documents: bool) -> float:
    """Queries, keys, values and output (`queries` in all), each head's normaliser, and what the output matrix reads."""
    laid_out = queries + heads
    return laid_out * (1 + FILLING) + into_output if documents else laid_out


def _grouped(model: LlamaModel | OuroModel, documents: bool) -> float:
    """Without documents, the kernel's output is what the output matrix reads."""
    numbers = 2 * model.head_dim * (model.heads + model.kv_heads)
    return _attention(numbers, model.heads, model.heads * model.head_dim, documents)


def _moonlight(model: MoonlightModel, documents: bool, positions: float) -> Kept:
    """Latent attention widens values to the width of keys; an expert's rows are gathered, computed and put back."""
    width = model.heads * (model.qk_nope_dim + model.qk_rope_dim)
    attention = 2 * model.kv_lora_rank + _attention(4 * width, model.heads, 0, documents)
    attention += model.heads * model.v_head_dim
    if not model.experts or model.dense_layers == model.layers:
        return Kept(4 * model.hidden + 6, attention + 4 * model.ffn)
    rows = model.active_experts + EXPERT_BLOCK * model.experts / positions  # of experts, a position
    shared = 4 * model.expert_ffn * model.shared_experts
    experts = rows * (4 * model.expert_ffn + 8)
    return Kept((4 + 2 * rows) * model.hidden + 6, attention + model.experts + shared + experts)


def _encoder(model: Encoder, rotated: int = 0, crossed: bool = False) -> Kept:
    """LayerNorm keeps what it reads and what it puts out; GELU stands between two matrices.

    `rotated`: copies of queries and keys before their rotation; `crossed`: a second attention, to another source.
    """
    width, times = model.hidden, 2 if crossed else 1
    inner = (4 * times + rotated) * width + model.heads * times + 2 * model.ffn + 6 * rotated
    return Kept(2 * (times + 1) * width + 2 * (times + 1), inner)
