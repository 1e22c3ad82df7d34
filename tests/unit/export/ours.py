"""What this project computes of a finished stage: its logits, from the result's weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from stages.data.tokens.tokenizer import Tokenizer
from stages.engines import received
from stages.models import build
from stages.store import stage_record


def tokenizer(root: Path) -> Tokenizer:
    return Tokenizer(root / "results/mini/data/tokenizer/tokenizer.json")


def module(root: Path, ref: str) -> nn.Module:
    folder = root / "results/mini" / ref
    stage = stage_record.read(folder)
    built = build.build(stage)["llm"].eval()
    received.load(built, folder, "llm")
    return built


@torch.no_grad()
def logits(model: nn.Module, tokens: list[int], loops: int | None = None) -> Tensor:
    """[T, V] of one row."""
    row = torch.tensor([tokens])
    given = (row, torch.arange(len(tokens))[None], None, None)
    hidden = model(*given) if loops is None else model(*given, loops)[0][-1]
    return model.logits(hidden)[0]
