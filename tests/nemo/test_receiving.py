"""What comes in is read or drawn by each rank for itself: the torch engine's bits, and no byte beyond its own parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.engines import Inputs, received, torch_engine, training
from stages.engines.nemo import parts
from stages.models import build, hf
from stages.models.tensor_file import Stored
from stages.spec.resolved import Init, Stage
from tests.nemo import engines, ranks
from tests.nemo.engines import Layout, layout
from tests.unit.models.test_release_siglip import VIT
from tests.unit.models.test_release_siglip import folder as siglip  # noqa: F401
from tests.unit.train import tiny
from tests.unit.train.test_extended import MORE, Rule, grown

RELEASE = Init(weights="release", parent=None, release="tiny", optimizer="reset", layer_map=None, stand_in=False)
LLAMA = tiny.LLAMA.model_copy(update={"kv_heads": 2, "layers": 2})
ROWS = tiny.VOCAB - 3  # three rows of the parent's are padding


@dataclass(frozen=True)
class Taken:
    """What the first rank gathered, and bytes: read by each rank from tensors' files, and of its parts in fp32."""

    weights: dict[str, Tensor]
    state: dict[str, Tensor]
    read: int
    own: int


def _taken(stage: Stage, inputs: Inputs) -> Taken:
    from stages.engines import place
    from stages.engines.nemo import groups
    from stages.engines.nemo.trainer import NemoTrainer

    parts.COLUMNS = 3  # a table's mean is taken in several pieces
    read = [0]

    def counted(call: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def reading(*arguments: Any) -> Tensor:
            found = call(*arguments)
            read[0] += found.nbytes
            return found

        return reading

    Stored.part, Stored.__getitem__ = counted(Stored.part), counted(Stored.__getitem__)  # type: ignore[method-assign]
    with groups.met(stage, place.of(stage)) as group:
        trainer = NemoTrainer(stage, inputs, group)
        trainer.begin()
        counts = read[0], sum(one.tensor.numel() * 4 for one in trainer._moved.owned)
        gathered = trainer._gathered()
        _, state = trainer.state()
        return Taken(dict(gathered.state_dict()) if gathered else {}, dict(state), *counts)


def taken(stage: Stage, inputs: Inputs, where: Layout) -> list[Taken]:
    """By rank, with the bits of the torch engine on the first."""
    found: list[Taken] = engines.call(where.ranks, _taken, engines.on_nemo(stage, where), inputs)
    wanted = received.receive(stage, inputs, torch.device("cpu")).state_dict()
    assert found[0].weights.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(found[0].weights[name], tensor), name
    return found


def _released(root: Path) -> tuple[Stage, Inputs, Path]:
    """A Llama in bf16, in two files."""
    stage = tiny.make("next_token").model_copy(update={"modules": {"llm": LLAMA}, "init": {"llm": RELEASE}})
    folder = root / "tiny"
    torch.manual_seed(0)
    module = build.make(LLAMA, stage.rope, "cpu")
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, mean=0.05, std=0.2)
    hf.save(module, LLAMA, stage.rope, stage.max_context, folder)
    tensors = {name: one.bfloat16() for name, one in load_file(folder / "model.safetensors").items()}
    (folder / "model.safetensors").unlink()
    for number, names in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2]), start=1):
        save_file({name: tensors[name] for name in names}, folder / f"model-{number:05d}-of-00002.safetensors")
    config = (folder / "config.json").read_text().replace('"float32"', '"bfloat16"')
    (folder / "config.json").write_text(config)
    return stage, Inputs(**{**tiny.inputs(root).__dict__, "releases": {"tiny": folder}}), folder


@pytest.mark.parametrize("where", [layout(2, tp=2), layout(2, pp=2), layout(2)], ids=str)
def test_of_a_release_a_rank_reads_its_own_parts(where: Layout, tmp_path: Path) -> None:
    stage, inputs, _ = _released(tmp_path)
    first, second = taken(stage, inputs, where)
    assert second.read == second.own // 2, "2 bytes of each parameter"
    assert first.read > first.own, "it compares everything"


def test_a_release_that_is_no_good_is_named_on_every_rank(tmp_path: Path) -> None:
    stage, inputs, folder = _released(tmp_path)
    path = folder / "model-00001-of-00002.safetensors"
    tensors = load_file(path)
    name, tensor = next(iter(sorted(tensors.items())))
    save_file(tensors | {name: tensor * float("nan")}, path)
    with pytest.raises(ranks.RankError) as caught:
        engines.call(2, _taken, engines.on_nemo(stage, layout(2, tp=2)), inputs)
    assert str(caught.value).count(f"UserError: {folder}: tensors not finite: {name}") == 2


def test_a_tower_begins_with_siglips(siglip: Path, tmp_path: Path) -> None:  # noqa: F811
    stage = tiny.make("joint")
    assert stage.modules["vit"].family == VIT.family
    released = RELEASE.model_copy(update={"release": "siglip", "architecture": "SiglipModel"})
    projector = stage.modules["projector"].model_copy(update={"vision_hidden": VIT.hidden})
    changes = {
        "modules": {**stage.modules, "vit": VIT, "projector": projector},
        "init": {**stage.init, "vit": released},
    }
    inputs = Inputs(**{**tiny.inputs(tmp_path).__dict__, "releases": {"siglip": siglip}})
    _, second = taken(stage.model_copy(update=changes), inputs, layout(2, tp=2, sequence_parallel=True))
    assert 0 < second.read < second.own


@pytest.mark.parametrize("rule", ["mean", "fresh"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_of_a_larger_vocabulary_too_and_of_its_moments(rule: Rule, tied: bool, tmp_path: Path) -> None:
    model = LLAMA.model_copy(update={"tied": tied})
    parent = tiny.make("next_token").model_copy(update={"modules": {"llm": model}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "PhaseData", tiny.Data)
        torch_engine.run(parent, tiny.inputs(tmp_path))
    stage, inputs = grown(parent, tmp_path, rule, ROWS)
    first, second = taken(stage, inputs, layout(2, tp=2))
    wanted = received.inherited_state(stage, inputs)
    assert first.state.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(first.state[name], tensor), name
    new, tables = MORE - ROWS, 1 if tied else 2
    kept = second.own - new * model.hidden * 4 * tables  # every new row is the second rank's
    averaged = ROWS * model.hidden * 4 * tables if rule == "mean" else 0
    assert second.read == 3 * kept + averaged + 8, "weights, two moments, and how many updates"
