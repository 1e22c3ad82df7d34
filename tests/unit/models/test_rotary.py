"""Rotary tables: the contract's frequencies, rounded once, whatever the model is cast to."""

from __future__ import annotations

import pytest
import torch

from stages.contract.rope import inv_freq
from stages.models.rotary import Rotary, Tables
from stages.spec.resolved_models import Rope, Yarn

ROPE = Rope(base=500_000.0, llama3=None, interpolation=4.0)
FAR = torch.tensor([[0, 1, 1_000_003]])
ONES = (torch.ones(1), torch.ones(1))


def test_frequencies_are_rounded_once_to_fp32() -> None:
    found = Rotary(ROPE, 64).inv_freq
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.tensor(inv_freq(ROPE, 64), dtype=torch.float64).float())


def test_a_table_turns_each_pair_by_its_frequency_times_the_position() -> None:
    cos, sin = Rotary(ROPE, 8).tables(FAR)
    assert cos.shape == sin.shape == (1, 3, 1, 4)
    angles = FAR[0, :, None].double() * torch.tensor(inv_freq(ROPE, 8), dtype=torch.float64)
    torch.testing.assert_close(cos[0, :2, 0].double(), angles[:2].cos(), rtol=0, atol=1e-6)
    torch.testing.assert_close(sin[0, :2, 0].double(), angles[:2].sin(), rtol=0, atol=1e-6)
    # An angle of a quarter of a million turns, of which fp32 keeps 24 bits.
    torch.testing.assert_close(sin[0, 2, 0].double(), angles[2].sin(), rtol=0, atol=0.1)


def test_yarns_factor_is_in_both_tables() -> None:
    yarn = Yarn(
        factor=4.0, original=16, beta_fast=32.0, beta_slow=1.0, truncate=True, attention_factor=1.25, mscale=None,
        mscale_all_dim=None,
    )  # fmt: skip
    turning = Rotary(ROPE.model_copy(update={"interpolation": 1.0, "yarn": yarn}), 8)
    cos, sin = turning.tables(FAR)
    torch.testing.assert_close(cos.square() + sin.square(), torch.full_like(cos, 1.25**2))


def test_layers_with_local_attention_have_tables_of_their_own() -> None:
    both = Tables(ONES, (torch.zeros(1), torch.zeros(1)))
    assert both.of(local=False) is both.main
    assert both.of(local=True) is both.local
    assert Tables(ONES).of(local=False) == ONES
    with pytest.raises(ValueError, match="local attention, in a model without a second rotary base"):
        Tables(ONES).of(local=True)
