"""Upcycling accounts for every parameter, and a looped model's upcycled child computes the same function."""

import pytest
import torch
from torch import nn

from stages.errors import UserError
from stages.models import upcycle_experts
from stages.models.build import initialise, make
from stages.models.upcycle import source_names, upcycle
from stages.spec.families.ouro import OuroModel
from stages.spec.resolved_models import Rope

ROPE = Rope(base=10_000.0, llama3=None, interpolation=1.0)


def ouro(layers: int, seed: int = 1) -> nn.Module:
    cfg = OuroModel(
        family="ouro", layers=layers, hidden=16, ffn=24, heads=2, kv_heads=2, head_dim=8, vocab=31, norm_eps=1e-6,
        tied=False, init_std=0.2, post_norm_gain=1.0,
    )  # fmt: skip
    module = make(cfg, ROPE, "cpu")
    initialise(module, "llm", cfg, seed)
    return module


def shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def test_every_tensor_is_a_copy_of_the_layer_that_the_map_names() -> None:
    parent, child = ouro(2), ouro(4, seed=2)
    result = upcycle(parent.state_dict(), shapes(child), (0, 1, 0, 1))
    sources = source_names(child.state_dict(), (0, 1, 0, 1))
    assert set(result) == set(child.state_dict()) == set(sources)
    assert sources["model.layers.3.mlp.up_proj.weight"] == "model.layers.1.mlp.up_proj.weight"
    assert sources["model.early_exit_gate.bias"] == "model.early_exit_gate.bias"
    for name, source in sources.items():
        assert torch.equal(result[name], parent.state_dict()[source])
    child.load_state_dict(result, strict=True)


def test_copies_are_the_childs_own() -> None:
    parent = ouro(2)
    result = upcycle(parent.state_dict(), shapes(ouro(4)), (0, 1, 0, 1))
    result["lm_head.weight"].zero_()
    assert parent.state_dict()["lm_head.weight"].any()


def test_one_loop_of_the_child_is_two_of_the_parent_but_for_the_norm_between() -> None:
    parent, child = ouro(2), ouro(4, seed=2)
    child.load_state_dict(upcycle(parent.state_dict(), shapes(child), (0, 1, 0, 1)))
    parent.model.norm = torch.nn.Identity()
    child.model.norm = torch.nn.Identity()
    tokens, positions = torch.arange(12)[None] % 31, torch.arange(12)[None]
    with torch.no_grad():
        torch.testing.assert_close(
            child(tokens, positions, None, None, loops=2)[0][-1], parent(tokens, positions, None, None, loops=4)[0][-1]
        )


def test_moments_follow_their_parameters() -> None:
    names = ["model.layers.3.mlp.up_proj.weight.exp_avg", "lm_head.weight.exp_avg_sq"]
    assert source_names(names, (0, 0, 1, 1)) == {
        "model.layers.3.mlp.up_proj.weight.exp_avg": "model.layers.1.mlp.up_proj.weight.exp_avg",
        "lm_head.weight.exp_avg_sq": "lm_head.weight.exp_avg_sq",
    }


def test_a_layer_outside_of_the_map_or_of_the_parent_is_refused() -> None:
    with pytest.raises(UserError, match="outside the layer map of 3 layers"):
        upcycle(ouro(2).state_dict(), shapes(ouro(4)), (0, 1, 0))
    with pytest.raises(UserError, match=r"nothing for model.layers.3.* \(from model.layers.2"):
        upcycle(ouro(2).state_dict(), shapes(ouro(4)), (0, 1, 0, 2))


def test_another_width_is_refused() -> None:
    child = shapes(ouro(2)) | {"model.norm.weight": torch.Size([17])}
    with pytest.raises(UserError, match=r"shapes differ: model.norm.weight \[17\] from \[16\]"):
        upcycle(ouro(2).state_dict(), child, (0, 1))


EXPERTS, ROUTER, DENSE = "model.layers.0.mlp.experts.up_proj", "model.layers.0.mlp.gate.weight", "model.layers.0.mlp."
MOMENTS = {
    "llm.step": torch.tensor(7.0),
    f"llm.{DENSE}up_proj.weight.exp_avg": torch.tensor([[1.0, 2.0]]),
    f"llm.{DENSE}gate_proj.weight.momentum": torch.tensor([[3.0, 4.0]]),
    "llm.model.norm.weight.exp_avg": torch.tensor([5.0]),
}


def test_an_expert_has_the_moments_of_what_it_is_a_copy_of_and_a_router_none() -> None:
    wanted = {EXPERTS: torch.Size([2, 1, 2]), ROUTER: torch.Size([2, 2]), "model.norm.weight": torch.Size([1])}
    found = upcycle_experts.moments(MOMENTS, "llm", wanted, "step")
    assert {name: one.tolist() for name, one in found.items()} == {
        "llm.step": 7.0,
        f"llm.{EXPERTS}.exp_avg": [[[1.0, 2.0]], [[1.0, 2.0]]],
        f"llm.{ROUTER}.momentum": [[0.0, 0.0], [0.0, 0.0]],  # of the kind that the gate's matrix has
        "llm.model.norm.weight.exp_avg": [5.0],
    }
    found[f"llm.{EXPERTS}.exp_avg"][0].zero_()
    assert found[f"llm.{EXPERTS}.exp_avg"][1].any(), "each expert's are its own"


def test_moments_of_experts_are_compared_one_by_one_and_a_routers_where_it_has_moved() -> None:
    stacked = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])
    found = dict(upcycle_experts.apart(f"llm.{EXPERTS}.exp_avg", stacked))
    assert {name: one.tolist() for name, one in found.items()} == {
        f"llm.{DENSE}experts.0.up_proj.weight.exp_avg": [[1.0, 2.0]],
        f"llm.{DENSE}experts.1.up_proj.weight.exp_avg": [[3.0, 4.0]],
    }
    name = f"llm.{ROUTER}.exp_avg"
    assert not dict(upcycle_experts.apart(name, torch.zeros(2, 2)))
    assert [*dict(upcycle_experts.apart(name, torch.ones(2, 2)))] == [name]
