"""What a layer keeps for its backward pass, in the models of stages/models, numbers a position; what the loss takes.

Read off the models and measured tensor by tensor (tests/unit/plan/test_memory_layers.py). `stream` are numbers of the
residual stream's width around norms: in mixed precision most are there in fp32, and what matrices read in bf16.
`inner` are what attention and feed-forward parts make: in the precision of products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from stages.spec.decoder import Decoder, Dense, Grouped, Latent, Mixture
from stages.spec.language_model import LanguageModel
from stages.spec.resolved_models import (
    LOOPED,
    CaptionDecoderModel,
    ContrastiveModel,
    Model,
    MoonViTModel,
    TextTowerModel,
)

FP32, HALF = 4, 2
STREAM = 4.1  # bytes of a number of the stream in mixed precision: most are fp32, some have a copy in bf16
EXPERT_BLOCK = 16  # rows of an expert are filled up to a multiple of this (stages/models/moe.py)
FILLING = 0.25  # positions that rows of documents are filled up with, as a share: lengths of one batch are similar
Encoder = MoonViTModel | TextTowerModel | CaptionDecoderModel | ContrastiveModel
# Of the loss over the vocabulary: the sizes of stages/models/ops/head.py and head_chunk.py, which a test compares.
WHOLE, ON_CPU, ON_GPU = 1 << 22, 1 << 17, 1 << 27  # logits
FEWEST, TOGETHER, AT_ONCE = 64, 4, 1 << 26  # rows, chunks, logits


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
    if isinstance(model, LanguageModel):
        return model.layers
    match model.family:
        case "moonvit" | "text_tower" | "caption_decoder":
            return model.layers
        case "contrastive":
            return 1
        case "projector":
            return 0
        case _:
            assert_never(model)


def saved(model: Model, documents: bool, positions: float, context: float) -> Kept:
    """What a layer keeps; of a mixture of experts, one with experts. `documents`: they are masked from each other.

    `positions` are those computed at once: filled-up blocks of experts weigh the more the fewer there are. Layers whose
    scores are capped keep those of all `context` positions of a row.
    """
    if isinstance(model, LanguageModel):
        return _decoder(model.parts, documents, positions, context)
    match model.family:
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
    """Bytes a position that a layer keeps next to its input where it is recomputed: attention's outputs, and in fp32
    each head's normaliser.
    """
    if isinstance(model, LanguageModel):
        one = model.parts.layers[-1].attention
        if isinstance(one, Grouped) and one.softcap is not None:
            return 0  # no kernel of torch's has capped scores: they are computed again
        width, heads = one.query_key, one.heads  # of MLA as wide as its keys
    else:
        match model.family:
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


def masks(model: Model, context: float, bf16: bool, on_gpu: bool) -> float:
    """Bytes of what stages/models/masks.py keeps for layers whose scores are capped, and for windows that end within a
    row: one mask of each kind, for rows of `context` positions. On a GPU in bf16, windows are FlashAttention's.
    """
    if not isinstance(model, LanguageModel):
        return 0
    grouped = {one.attention for one in model.parts.layers if isinstance(one.attention, Grouped)}
    capped = {one.window for one in grouped if one.softcap is not None}
    windows = {one.window for one in grouped if one.softcap is None and one.window is not None and one.window < context}
    by_kernel = bf16 and on_gpu
    return context**2 * (FP32 * len(capped) + (0 if by_kernel else (HALF if bf16 else FP32) * len(windows)))


def differentiated(model: LanguageModel, documents: bool, bf16: bool, positions: float, sums: int) -> float:
    """Bytes of one layer's attention while it is differentiated: what it read and put out, and the queries' gradients,
    which FlashAttention adds up in fp32, in bf16 alone. `sums` is for how many positions of a head it does so.

    Documents that end within rows need less than a whole row of one.
    """
    one = model.parts.layers[-1].attention
    numbers = positions * (_latent(one, documents) if isinstance(one, Latent) else _grouped(one, documents))
    return HALF * numbers + FP32 * sums * (one.query_key // model.heads) if bf16 else FP32 * numbers


def _decoder(model: Decoder, documents: bool, positions: float, context: float) -> Kept:
    """The last layer, which has experts where any has."""
    layer = model.layers[-1]
    # A norm that reads the stream keeps its input and output; of one behind a sub-layer the output is added, not kept.
    # Without a norm before it, a sub-layer reads the stream itself.
    stream: float = (2 * layer.norms.before + layer.norms.behind) * model.hidden + len(list(layer.norms))
    stream += (2 - layer.norms.before) * model.hidden
    if model.gain_offset:  # 1 + gain, once a layer
        stream += (len(list(layer.norms)) * model.hidden + 2 * layer.attention.rotated) / positions
    if isinstance(layer.attention, Latent):
        stream, inner = stream + 4, _latent(layer.attention, documents)
    else:
        inner = _grouped(layer.attention, documents) + _qk_norm(layer.attention)
        if layer.attention.softcap is not None:  # scores as bounded and as probabilities, in fp32, and for the values
            stream, inner = stream + 2 * layer.attention.heads * context, inner + layer.attention.heads * context
    if isinstance(layer.feed_forward, Dense):
        return Kept(stream, inner + 4 * layer.feed_forward.ffn)
    of_experts = _mixture(layer.feed_forward, model.hidden, positions)
    return Kept(stream + of_experts.stream, inner + of_experts.inner)


def _attention(queries: float, heads: int, into_output: float, documents: bool) -> float:
    """Queries, keys, values and output (`queries` in all), each head's normaliser, and what the output matrix reads."""
    laid_out = queries + heads
    return laid_out * (1 + FILLING) + into_output if documents else laid_out


def _grouped(one: Grouped, documents: bool) -> float:
    """Without documents, the kernel's output is what the output matrix reads."""
    keys = one.kv_heads * one.head_dim
    return _attention(2 * (one.query_key + keys), one.heads, one.values, documents)


def _qk_norm(one: Grouped) -> float:
    """Queries and keys normed, and each norm's divisors."""
    if one.qk_norm is None:
        return 0
    divisors = one.heads + one.kv_heads if one.qk_norm == "head" else 2
    return (one.heads + one.kv_heads) * one.head_dim + divisors


def _latent(one: Latent, documents: bool) -> float:
    """Values are widened to the width of keys."""
    return 2 * one.rank + _attention(4 * one.query_key, one.heads, 0, documents) + one.values


def _mixture(one: Mixture, hidden: int, positions: float) -> Kept:
    """An expert's rows are gathered, computed and put back."""
    rows = one.active + EXPERT_BLOCK * one.experts / positions  # of experts, a position
    shared = 4 * one.ffn * one.shared
    return Kept(2 * rows * hidden, one.experts + shared + rows * (4 * one.ffn + 8))


def _encoder(model: Encoder, rotated: int = 0, crossed: bool = False) -> Kept:
    """LayerNorm keeps what it reads and what it puts out; GELU is between two matrices.

    `rotated`: copies of queries and keys before their rotation; `crossed`: a second attention, to another source.
    """
    width, times = model.hidden, 2 if crossed else 1
    inner = (4 * times + rotated) * width + model.heads * times + 2 * model.ffn + 6 * rotated
    return Kept(2 * (times + 1) * width + 2 * (times + 1), inner)


def head(model: LanguageModel | CaptionDecoderModel, positions: float, bf16: bool, device: str) -> float:
    """Bytes of a loss over the vocabulary: one chunk of logits, and gradients of states and matrix; or whole logits."""
    vocab, width = model.vocab, model.hidden
    if positions * vocab <= WHOLE and model.family not in LOOPED:
        return 3 * FP32 * positions * vocab
    gradients = FP32 * positions * width
    if device == "cpu":
        logits = min(max(FEWEST, ON_CPU // vocab), positions) * (FP32 + HALF if bf16 else FP32)
        copies = 2 * HALF * vocab * width if bf16 else 0  # of the matrix, and its product before it is added
    else:
        slopes = min(TOGETHER * max(FEWEST, ON_GPU // vocab), positions) * (HALF if bf16 else FP32)
        logits = min(max(FEWEST, AT_ONCE // vocab), positions) * 2 * FP32 + slopes
        copies = HALF * vocab * width if bf16 else 0
    return logits * vocab + gradients + copies
