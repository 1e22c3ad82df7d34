"""Angles for Core's layers are those of the torch engine, bit for bit, at any position."""

import pytest
import torch
from torch import nn

from stages.contract.rope import inv_freq
from stages.engines.nemo import rotary
from stages.models.rotary import Rotary
from stages.spec.resolved_models import Llama3Scaling, Rope

ROPE = Rope(base=500_000.0, llama3=Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=8192), interpolation=8.0)
POSITIONS = torch.tensor([[0, 1, 2, 0, 1], [1_048_573, 1_048_574, 1_048_575, 0, 1]])


def test_angles_are_the_torch_engines():
    got = rotary.angles(POSITIONS, torch.tensor(inv_freq(ROPE, 16), dtype=torch.float64).float())
    cos, sin = Rotary(ROPE, 16).tables(POSITIONS)
    assert got.shape == (5, 2, 1, 16)
    for half in got.split(8, -1):
        assert torch.equal(half.cos(), cos.transpose(0, 1))
        assert torch.equal(half.sin(), sin.transpose(0, 1))


class Model(nn.Module):
    """Calls its rotary embedding as Core's GPTModel does."""

    def forward(self, input_ids, position_ids, attention_mask):
        length = self.rotary_pos_emb.get_rotary_seq_len(None, None, input_ids, None, None)
        return self.rotary_pos_emb(length, packed_seq=False, cp_group=None)


@pytest.mark.parametrize("by_name", [False, True])
def test_a_model_turns_by_the_positions_it_is_called_with(by_name):
    model = Model()
    rotary.place(model, ROPE, 16)
    args, kwargs = ((POSITIONS, None), {}) if not by_name else ((), {"position_ids": POSITIONS, "attention_mask": None})
    first = model(POSITIONS, *args, **kwargs)
    assert torch.equal(first, rotary.angles(POSITIONS, Rotary(ROPE, 16).inv_freq))
    assert not torch.equal(model(POSITIONS, POSITIONS + 1, None), first)


def test_what_is_read_back_is_what_turns():
    model = Model()
    rotary.place(model, ROPE, 16)
    assert torch.equal(model.rotary_pos_emb.inv_freq, Rotary(ROPE, 16).inv_freq)
    model.rotary_pos_emb.inv_freq = model.rotary_pos_emb.inv_freq * 2
    twice = model(POSITIONS, POSITIONS, None)
    assert torch.equal(twice, rotary.angles(POSITIONS, Rotary(ROPE, 16).inv_freq * 2))


def test_no_angles_without_positions():
    with pytest.raises(ValueError, match="before the model was called"):
        rotary.Rotary(ROPE, 16)(5)
