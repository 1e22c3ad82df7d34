"""Angles for Core's layers are those of the torch engine, bit for bit, at any position."""

from typing import Any

import pytest
import torch
from torch import nn

from stages.contract.rope import inv_freq
from stages.engines.nemo import rotary
from stages.errors import UserError
from stages.models.rotary import Rotary
from stages.spec.resolved_models import Llama3Scaling, Rope, Yarn

ROPE = Rope(base=500_000.0, llama3=Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=8192), interpolation=8.0)
POSITIONS = torch.tensor([[0, 1, 2, 0, 1], [1_048_573, 1_048_574, 1_048_575, 0, 1]])


def test_angles_are_the_torch_engines() -> None:
    got = rotary.angles(POSITIONS, torch.tensor(inv_freq(ROPE, 16), dtype=torch.float64).float())
    cos, sin = Rotary(ROPE, 16).tables(POSITIONS)
    assert got.shape == (5, 2, 1, 16)
    for half in got.split(8, -1):
        assert torch.equal(half.cos(), cos.transpose(0, 1))
        assert torch.equal(half.sin(), sin.transpose(0, 1))


class Model(nn.Module):
    """Calls its rotary embedding as Core's GPTModel does."""

    def forward(self, input_ids: Any, position_ids: Any, attention_mask: Any) -> Any:
        length = self.rotary_pos_emb.get_rotary_seq_len(None, None, input_ids, None, None)
        return self.rotary_pos_emb(length, packed_seq=False, cp_group=None)


@pytest.mark.parametrize("by_name", [False, True])
def test_a_model_turns_by_the_positions_it_is_called_with(by_name: bool) -> None:
    model = Model()
    rotary.place(model, ROPE, 16)
    args, kwargs = ((POSITIONS, None), {}) if not by_name else ((), {"position_ids": POSITIONS, "attention_mask": None})
    first = model(POSITIONS, *args, **kwargs)
    assert torch.equal(first, rotary.angles(POSITIONS, Rotary(ROPE, 16).inv_freq))
    assert not torch.equal(model(POSITIONS, POSITIONS + 1, None), first)


def test_what_is_read_back_is_what_turns() -> None:
    model = Model()
    rotary.place(model, ROPE, 16)
    assert torch.equal(model.rotary_pos_emb.inv_freq, Rotary(ROPE, 16).inv_freq)
    model.rotary_pos_emb.inv_freq = model.rotary_pos_emb.inv_freq * 2
    twice = model(POSITIONS, POSITIONS, None)
    assert torch.equal(twice, rotary.angles(POSITIONS, Rotary(ROPE, 16).inv_freq * 2))


def test_no_angles_without_positions() -> None:
    with pytest.raises(ValueError, match="before the model was called"):
        rotary.Rotary(ROPE, 16)(5)


YARN = Yarn(
    factor=4.0, original=32_768, beta_fast=32.0, beta_slow=1.0, truncate=True, attention_factor=None, mscale=None,
    mscale_all_dim=None,
)  # fmt: skip


def test_a_parent_whose_positions_also_multiply_is_refused_and_not_evaluated_by_its_angles_alone() -> None:
    model, own = Model(), Rotary(ROPE, 16).inv_freq
    rotary.place(model, ROPE, 16)
    parent = Rope(base=1e6, llama3=None, interpolation=1.0, yarn=YARN)
    with pytest.raises(UserError, match="a parent whose YaRN multiplies"), rotary.turned_by([model], parent):
        raise AssertionError("evaluated")
    turning = parent.model_copy(update={"yarn": YARN.model_copy(update={"attention_factor": 1.0})})
    with rotary.turned_by([model], turning):
        assert torch.equal(model.rotary_pos_emb.inv_freq, Rotary(turning, 16).inv_freq)
    assert torch.equal(model.rotary_pos_emb.inv_freq, own)
