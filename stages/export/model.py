"""A finished stage's modules with their weights, in fp32 on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from stages.engines import received
from stages.export.result import Result
from stages.models import build, hf_config

Logits = Callable[[list[int]], Tensor]


def modules(result: Result) -> nn.ModuleDict:
    """All modules of a stage, in evaluation mode. Raises UserError for weights that are not those of its models."""
    built = build.build(result.stage)
    for name, module in built.items():
        received.load(module, result.folder, name)
    return built.eval()


def loops(result: Result) -> int | None:
    """How often an Ouro is looped, as last trained; None for other models."""
    return hf_config.read(result.folder / "model" / result.llm).loops


def next_logits(result: Result) -> Logits:
    """From the tokens so far to the scores [V] of the next one, as the weights were trained: nothing is rounded."""
    llm, count = modules(result)[result.llm], loops(result)

    @torch.no_grad()
    def logits(tokens: list[int]) -> Tensor:
        row = torch.tensor([tokens])
        given = (row, torch.arange(len(tokens))[None], None, None)
        hidden = llm(*given) if count is None else llm(*given, count)[0][-1]
        return llm.logits(hidden[0, -1])

    return logits
