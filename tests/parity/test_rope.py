"""Rotary positions as built: transformers' frequencies, relative positions, precision that casting cannot take away."""

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from stages.models.build import make
from stages.models.hf_rope import rope_scaling
from stages.models.ops import rotate
from stages.models.rotary import Rotary
from stages.spec.families.llama import LlamaModel
from stages.spec.resolved_models import Llama3Scaling, Rope

LLAMA3 = Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=8192)
ROPES = [
    Rope(base=10_000.0, llama3=None, interpolation=1.0),
    Rope(base=500_000.0, llama3=LLAMA3, interpolation=1.0),
    Rope(base=10_000.0, llama3=None, interpolation=8.0),
    Rope(base=500_000.0, llama3=LLAMA3, interpolation=8.0),
]
NAMES = ["plain", "llama3", "linear", "llama3-interpolated"]


@pytest.mark.parametrize("length", [1000, 131_072, 1_048_576 + 1])
@pytest.mark.parametrize("rope", ROPES, ids=NAMES)
def test_exported_scaling_gives_our_frequencies_at_any_length(rope: Rope, length: int) -> None:
    scaling = rope_scaling(rope, 128, 1_048_576)
    config = LlamaConfig(
        hidden_size=256, num_attention_heads=2, head_dim=128, rope_theta=rope.base, rope_scaling=scaling,
        max_position_embeddings=1_048_576,
    )  # fmt: skip
    kind = "default" if scaling is None else scaling["rope_type"]
    theirs, attention_factor = ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=length)
    assert attention_factor == 1.0
    torch.testing.assert_close(Rotary(rope, 128).inv_freq, theirs, rtol=1e-6, atol=0)


@pytest.mark.parametrize("interleaved", [False, True])
def test_products_depend_on_the_distance_only(interleaved: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    rotary = Rotary(ROPES[0], 16)
    q, k = (torch.randn(1, 1, 1, 16, generator=generator) for _ in range(2))

    def product(a: int, b: int) -> float:
        turned = [rotate(x, *rotary.tables(torch.tensor([[p]])), interleaved=interleaved) for x, p in ((q, a), (k, b))]
        return (turned[0] * turned[1]).sum().item()

    assert product(7, 3) == pytest.approx(product(107, 103), abs=1e-4)
    assert product(0, 0) == pytest.approx((q * k).sum().item(), abs=1e-5)
    assert abs(product(7, 3) - product(3, 7)) > 1e-3


@pytest.mark.parametrize("interleaved", [False, True])
def test_gradient_of_a_rotation(interleaved: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 5, 2, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    cos, sin = (t.double() for t in Rotary(ROPES[0], 6).tables(torch.arange(5)[None]))
    assert torch.autograd.gradcheck(lambda v: rotate(v, cos, sin, interleaved), (x,))


def test_casting_the_model_leaves_the_tables_in_fp32() -> None:
    cfg = LlamaModel(
        family="llama", layers=1, hidden=16, ffn=16, heads=2, kv_heads=1, head_dim=8, vocab=11, norm_eps=1e-5,
        tied=False, init_std=0.02,
    )  # fmt: skip
    model = make(cfg, ROPES[1], "cpu")
    before = model.rotary.tables(torch.tensor([[1_000_000]]))
    after = model.to(torch.bfloat16).rotary.tables(torch.tensor([[1_000_000]]))
    assert all(table.dtype == torch.float32 for table in after)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
