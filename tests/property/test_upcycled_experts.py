"""A dense model whose feed-forward parts become experts computes what it did, within what rounding can do.

Each expert computes f(x), and the weights of the k that a token takes are s / sum(s), in fp32. Every operation is off
by u = 2**-24 at most, relatively: k - 1 additions and one division, so the weights sum to 1 within k * u. With one
expert the weight is s / s = 1, exactly.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.contract.parameters import parameters
from stages.errors import UserError
from stages.models import upcycle_experts
from stages.models.build import initialise, make
from stages.models.hf_names import to_hf
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.families.qwen3 import Qwen3Model
from stages.spec.families.qwen3_moe import Qwen3MoeModel
from stages.spec.language_model import LanguageModel
from stages.spec.layer_maps import misfits
from stages.spec.resolved_models import Rope

ROPE = Rope(base=10_000.0, llama3=None, interpolation=1.0)
U = 2.0**-24
SHAPE: dict[str, Any] = {"hidden": 16, "heads": 2, "vocab": 31, "norm_eps": 1e-6, "tied": False, "init_std": 0.2}
LATENT = {"kv_lora_rank": 8, "qk_nope_dim": 4, "qk_rope_dim": 4, "v_head_dim": 4, "routed_scale": 1.0}


def pair(family: str, experts: int, active: int, layers: int = 2) -> tuple[LanguageModel, LanguageModel]:
    """A dense model, and one with experts of the width of its feed-forward parts."""
    routed: dict[str, Any] = {"experts": experts, "active_experts": active, "expert_ffn": 24}
    if family == "qwen3":
        shape = SHAPE | {"layers": layers, "ffn": 24, "kv_heads": 1, "head_dim": 8}
        return Qwen3Model(family="qwen3", **shape), Qwen3MoeModel(family="qwen3_moe", **shape, **routed)
    shape = SHAPE | LATENT | routed | {"family": "moonlight", "layers": layers, "ffn": 24, "shared_experts": 0}
    return MoonlightModel(**shape, dense_layers=layers), MoonlightModel(**shape, dense_layers=0)


def built(cfg: LanguageModel, seed: int) -> torch.nn.Module:
    module = make(cfg, ROPE, "cpu")
    initialise(module, "llm", cfg, seed)
    return module.eval()


def grown(dense: LanguageModel, routed: LanguageModel, seed: int) -> tuple[torch.nn.Module, torch.nn.Module]:
    parent, child = built(dense, seed), built(routed, seed + 1)
    child.load_state_dict(upcycle_experts.upcycle(parent.state_dict(), child.state_dict()))
    return parent, child


drawn = given(st.sampled_from(["qwen3", "moonlight"]), st.integers(2, 9), st.data(), st.integers(0, 2**16))


@drawn
def test_a_layer_computes_what_it_did(family: str, experts: int, data: st.DataObject, seed: int) -> None:
    """In fp64, in which products differ by nothing that counts: what is left is the weights' sum, an fp32 number."""
    active = data.draw(st.integers(1, experts))
    models = pair(family, experts, active)
    assert not list(misfits(*models))
    parent, child = (one.double() for one in grown(*models, seed))
    x = torch.randn(3, 5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        before, after = parent.model.layers[1].mlp(x), child.model.layers[1].mlp(x, None)
    bound = 0.0 if active == 1 else active * U
    assert torch.all((after - before).abs() <= (bound + 1e-13) * before.abs() + 1e-15)


@given(st.sampled_from(["qwen3", "moonlight"]), st.integers(2, 8), st.integers(0, 2**16))
def test_with_one_expert_a_token_the_whole_model_keeps_every_bit(family: str, experts: int, seed: int) -> None:
    """Sixteen tokens and one expert that takes them all: the same products of the same rows, times 1."""
    parent, child = grown(*pair(family, experts, 1), seed)
    tokens, positions = torch.full((1, 16), seed % 31), torch.arange(16)[None]
    with torch.no_grad():
        before, after = (one.logits(one(tokens, positions, None, None)) for one in (parent, child))
    assert torch.equal(before, after)


@drawn
def test_every_parameter_is_accounted_for(family: str, experts: int, data: st.DataObject, seed: int) -> None:
    """Of E experts a layer has E - 1 parts more and E rows of the router; a token takes k parts, and the router."""
    active = data.draw(st.integers(1, experts))
    dense, routed = pair(family, experts, active)
    before, after = parameters(dense), parameters(routed)
    part, router = 3 * 16 * 24, experts * 16
    assert after.total - before.total == 2 * ((experts - 1) * part + router)
    assert after.active - before.active == 2 * ((active - 1) * part + router)
    parent, child = grown(dense, routed, seed)
    assert sum(one.numel() for one in child.parameters()) == after.total
    for name, tensor in to_hf(child.state_dict()).items():
        if ".mlp.experts." in name:
            layer, _, matrix = name.partition(".mlp.experts.")
            assert torch.equal(tensor, parent.state_dict()[f"{layer}.mlp.{matrix.partition('.')[2]}"])


def test_routers_are_drawn_and_differ_between_seeds_and_layers() -> None:
    models = pair("qwen3", 4, 2)
    gates = [
        grown(*models, seed)[1].state_dict()[f"model.layers.{layer}.mlp.gate.weight"]
        for seed in (1, 5)
        for layer in (0, 1)
    ]
    assert all(one.std() > 0.1 for one in gates)
    assert not any(torch.equal(a, b) for a in gates for b in gates if a is not b)


@pytest.mark.parametrize("lost", ["model.norm.weight", "model.layers.0.mlp.up_proj.weight"])
def test_a_tensor_that_the_parent_lacks_or_has_in_another_shape_is_named(lost: str) -> None:
    dense, routed = pair("qwen3", 4, 2)
    parent, child = built(dense, 1).state_dict(), built(routed, 2).state_dict()
    whole = parent.pop(lost)
    with pytest.raises(UserError, match=f"nothing as {lost}"):
        upcycle_experts.upcycle(parent, child)
    with pytest.raises(UserError, match=f"a tensor of shape .* as {lost}"):
        upcycle_experts.upcycle({**parent, lost: whole[1:]}, child)
