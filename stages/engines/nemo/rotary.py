"""Rotary positions in Megatron-Core's models: our frequencies, and the positions of the batch.

Core numbers a row from 0 to its end. Where documents do not see each other that is the same up to rounding, but the
rounding of an angle in fp32 grows with the position: beyond half a million positions it is up to 0.03 (half a unit in
the last place of 2^19), where the torch engine begins each document at 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from stages.contract.rope import inv_freq, multiplied
from stages.errors import UserError
from stages.spec.resolved_models import Rope


def angles(positions: Tensor, frequencies: Tensor) -> Tensor:
    """Angles fp32 [T, B, 1, D], as Core's layers take them, of positions int64 [B, T]; frequencies fp32 [D / 2].

    Positions are those of a context-parallel rank's own tokens: nothing is left for Core to cut.
    """
    half = positions.T[..., None, None].float() * frequencies.to(positions.device)
    return half.repeat(1, 1, 1, 2)


class Rotary(nn.Module):
    """In the place of Core's `rotary_pos_emb`; `inv_freq` fp32 [dim / 2] has the name by which Core's are read back.

    The positions are those of the latest call of the model. A layer that takes the angles as an argument, as Core's do
    (all but latent attention), is computed again with those it had.
    """

    def __init__(self, rope: Rope, dim: int) -> None:
        super().__init__()
        self.inv_freq = torch.tensor(inv_freq(rope, dim), dtype=torch.float64, device="cpu").float()
        self._positions: Tensor | None = None

    def get_rotary_seq_len(self, *_: Any, **__: Any) -> int:
        """Core asks for a length; the positions say it."""
        return 0

    def forward(self, length: int, **_: Any) -> Tensor:
        """Angles of the positions that the model was called with."""
        if self._positions is None:
            raise ValueError("rotary angles before the model was called with positions")
        return angles(self._positions, self.inv_freq)

    def take(self, model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Before each call of the model, (tokens, positions, ...): remember the positions int64 [B, T]."""
        self._positions = kwargs["position_ids"] if "position_ids" in kwargs else args[1]


def rotaries(chunks: Iterable[nn.Module]) -> list[Any]:
    """What turns in these chunks of a model."""
    return [module for chunk in chunks for module in chunk.modules() if hasattr(module, "inv_freq")]


@contextmanager
def turned_by(chunks: Iterable[nn.Module], rope: Rope) -> Iterator[None]:
    """Within the block these chunks have other rotary positions; afterwards their own.

    Raises UserError for a YaRN that multiplies as well: Core's layers take angles alone.
    """
    if multiplied(rope):
        raise UserError(
            "evaluations before training: found a parent whose YaRN multiplies its queries, keys or scores; allowed "
            "for the NeMo engine: a parent whose positions multiply nothing. Train the stage with `engine: torch`, or "
            "leave `evaluate` empty."
        )
    own = [(module, module.inv_freq) for module in rotaries(chunks)]
    try:
        for module, frequencies in own:
            module.inv_freq = torch.tensor(inv_freq(rope, 2 * len(frequencies)), dtype=torch.float64).float()
        yield
    finally:
        for module, frequencies in own:
            module.inv_freq = frequencies


def place(model: Any, rope: Rope, dim: int) -> None:
    """Give one of Core's models, before it is wrapped, rotary positions of ours."""
    model.rotary_pos_emb = Rotary(rope, dim)
    model.register_forward_pre_hook(model.rotary_pos_emb.take, with_kwargs=True)
