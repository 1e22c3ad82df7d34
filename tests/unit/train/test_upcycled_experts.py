"""A hand-over to a model with experts: weights, moments, what the guards see, and a stage that trains on with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from stages.engines import run
from stages.guards.findings import GuardError
from stages.models import build, upcycle_experts
from stages.spec.families.qwen3 import Qwen3Model
from stages.spec.families.qwen3_moe import Qwen3MoeModel
from stages.spec.resolved import Init, Stage
from stages.spec.resolved_phases import Router
from tests.unit.train import tiny
from tests.unit.train.children import child
from tests.unit.train.test_average import averaged

pytestmark = pytest.mark.usefixtures("made_up_data")
SHAPE: dict[str, Any] = {**tiny.STACK, "norm_eps": 1e-5, "tied": False, "init_std": 0.05}
DENSE = Qwen3Model(family="qwen3", **SHAPE)
ROUTED = Qwen3MoeModel(family="qwen3_moe", **SHAPE, experts=4, active_experts=2, expert_ffn=SHAPE["ffn"])
PART = "mlp.gate_proj.weight"


def parent(optimizer: Any = tiny.ADAMW) -> Stage:
    return tiny.stage({"llm": DENSE}, (tiny.phase("next_token"),), ("llm",), optimizer=optimizer)


def grown(above: Stage, root: Path, **changes: Any) -> tuple[Stage, Any]:
    """The stage of kind upcycle below a finished one."""
    stage, inputs = child(above, root, "grown", "b" * 32)
    init = Init(
        weights="upcycle", parent="tiny/box", release=None, optimizer="inherit", layer_map=(0, 1), stand_in=False,
        experts="copies",
    )  # fmt: skip
    fields = {"kind": "upcycle", "modules": {"llm": ROUTED}, "init": {"llm": init}, "phases": (), "trained": ()}
    return stage.model_copy(update={**fields, "schedule": None, "optimizer": None, "seed": 11} | changes), inputs


def files(root: Path, name: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    folder = root / f"results/mini/tiny/{name}"
    return load_file(folder / "model/llm/model.safetensors"), load_file(folder / "state/optimizer.safetensors")


@pytest.mark.parametrize("optimizer", [tiny.ADAMW, tiny.MUON], ids=["adamw", "muon"])
def test_experts_take_weights_and_moments_and_routers_begin(tmp_path: Path, optimizer: Any) -> None:
    above = averaged(parent(optimizer))
    run(above, tiny.inputs(tmp_path))
    stage, inputs = grown(above, tmp_path)
    run(stage, inputs)
    (before, moments_before), (after, moments) = files(tmp_path, "box"), files(tmp_path, "grown")
    drawn = build.make(ROUTED, stage.rope, "cpu")
    build.initialise(drawn, "llm", ROUTED, stage.seed)
    for name, tensor in after.items():
        layer, experts, matrix = name.partition(".mlp.experts.")
        if ".mlp.gate." in name:
            assert torch.equal(tensor, drawn.state_dict()[name])
        else:
            assert torch.equal(tensor, before[f"{layer}.mlp.{matrix.partition('.')[2]}" if experts else name]), name
    assert not any(name.endswith(".ema") for name in moments)
    for name, tensor in moments.items():
        source = moments_before.get(upcycle_experts.source_name(name))
        if ".mlp.gate." in name:
            assert tensor.shape == (4, 16)
            assert not tensor.any()
        else:
            assert source is not None
            assert torch.equal(tensor, source.expand(tensor.shape)), name
    routers = {name.rpartition(".")[2] for name in moments if ".mlp.gate.weight" in name}
    assert routers == {name.rpartition(".")[2] for name in moments if f"experts.{PART.split('.')[1]}" in name}


def test_a_stage_trains_on_with_them_and_experts_part(tmp_path: Path) -> None:
    above = parent()
    run(above, tiny.inputs(tmp_path))
    made, inputs = grown(above, tmp_path)
    run(made, inputs)
    stage, inputs = child(made, tmp_path, "sparse", "c" * 32)
    phase = tiny.phase("next_token", router=Router(bias_update=0.0, aux_loss=1e-2))
    taken = {"kind": "train", "phases": (phase,), "trained": ("llm",)}
    stage = stage.model_copy(update=taken | {"schedule": above.schedule, "optimizer": above.optimizer})
    run(stage, inputs)
    (before, _), (after, _) = files(tmp_path, "grown"), files(tmp_path, "sparse")
    first, second = (f"model.layers.0.mlp.experts.{expert}.up_proj.weight" for expert in (0, 1))
    assert torch.equal(before[first], before[second])
    assert not torch.equal(after[first], after[second])
    assert not torch.equal(after["model.layers.1.mlp.gate.weight"], before["model.layers.1.mlp.gate.weight"])


@pytest.mark.parametrize(
    ("what", "said"), [("upcycle", r"I-31.*weights of llm: 1 of"), ("moments", r"I-15.*moments of llm: 1 of")]
)
def test_an_expert_that_is_no_copy_stops_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, said: str
) -> None:
    above = parent()
    run(above, tiny.inputs(tmp_path))
    whole = getattr(upcycle_experts, what)

    def loses(*args: Any) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = whole(*args)
        next(one for name, one in sorted(found.items()) if ".experts.down_proj" in name)[3].zero_()
        return found

    monkeypatch.setattr(upcycle_experts, what, loses)
    stage, inputs = grown(above, tmp_path)
    with pytest.raises(GuardError, match=said):
        run(stage, inputs)


def test_a_router_that_begins_with_moments_stops_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    above = parent()
    run(above, tiny.inputs(tmp_path))
    monkeypatch.setattr(upcycle_experts.torch, "zeros", torch.ones)
    stage, inputs = grown(above, tmp_path)
    with pytest.raises(GuardError, match=r"I-15.*moments of llm: 4 of"):
        run(stage, inputs)
