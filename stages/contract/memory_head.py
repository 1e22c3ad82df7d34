"""What the loss over the vocabulary takes on the torch engine: whole logits, or chunks of them.

The sizes are those of stages/models/ops/head.py and head_chunk.py; a test compares them.
"""

from __future__ import annotations

from stages.contract.memory_layers import FP32, HALF
from stages.spec.language_model import LanguageModel
from stages.spec.resolved_models import LOOPED, CaptionDecoderModel

WHOLE, ON_CPU, ON_GPU = 1 << 22, 1 << 17, 1 << 27  # logits
FEWEST, TOGETHER, AT_ONCE = 64, 4, 1 << 26  # rows, chunks, logits


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
