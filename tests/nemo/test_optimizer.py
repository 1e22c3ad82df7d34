"""Core's optimizers make the updates of `stages.train.optimizer`, on the same gradients, in every layout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stages.engines.nemo import handover
from stages.engines.nemo.gathering import Gathering
from stages.errors import UserError
from stages.models import build
from stages.spec.resolved_training import AdamW, Muon
from stages.train.optimizer import Optimizer
from stages.train.param_groups import trained_slots
from tests.nemo import building, ranks
from tests.nemo.building import Layout
from tests.unit.train import tiny

STEPS = 3
ADAMW = {decay: tiny.ADAMW.model_copy(update={"decay": decay}) for decay in ("all", "matrices")}
MUON = {decay: tiny.MUON.model_copy(update={"decay": decay, "clip": 0.5}) for decay in ("all", "matrices")}
LAYOUTS = (
    Layout(),
    Layout(ranks=2),
    Layout(ranks=2, tp=2),
    Layout(ranks=2, pp=2),
    Layout(ranks=2, pp=2, vpp=2),
    Layout(ranks=4, tp=2, pp=2),
)


def _drawn(shapes: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(tensor.shape, generator=generator) for name, tensor in sorted(shapes.items())}


def _ours(cfg: AdamW | Muon) -> tuple[list[float], dict[str, Tensor]]:
    """Norms, and weights and state, of the torch engine's optimizer."""
    stage = building.stage(optimizer=cfg)
    modules: nn.ModuleDict = build.build(stage)
    shapes = dict(modules.state_dict())
    modules.load_state_dict(_drawn(shapes, 0))
    slots = trained_slots(modules, ("llm",), cfg)
    optimizer, norms = Optimizer(cfg, slots), []
    for step in range(STEPS):
        drawn = _drawn(shapes, step + 1)
        gradients = [drawn[slot.name].clone() for slot in slots]
        clipped = optimizer.clip(gradients)
        norms.append(float(clipped.norm))
        optimizer.step(clipped, 0.01 * (step + 1))
    return norms, {**modules.state_dict(), **optimizer.state()}


def _cores(cfg: AdamW | Muon, layout: Layout) -> tuple[list[float], dict[str, Tensor]]:
    with building.parallel(layout) as group:
        built = building.make(building.stage(optimizer=cfg), layout, group)
        shapes = built.shapes()
        handover.load_weights(built.mover.owned, shapes, building.from_memory(_drawn(shapes, 0)))
        norms = []
        for step in range(STEPS):
            read = building.from_memory(_drawn(shapes, step + 1))
            for one in built.mover.owned:
                gradient: Any = one.tensor
                gradient.main_grad.copy_(handover._joined(one, shapes, read))
            norms.append(built.mover.clip())
            built.mover.step(0.01 * (step + 1))
        gathering = Gathering(built.mover.owned, built.rules, group)
        return norms, dict(gathering.weights(shapes)) | dict(gathering.state(built.state()))


def _differences(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, float]:
    assert found.keys() == wanted.keys()
    return {name: float((found[name] - wanted[name]).double().norm() / wanted[name].double().norm()) for name in wanted}


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("cfg", [*ADAMW.values(), *MUON.values()], ids=lambda cfg: f"{cfg.kind}-{cfg.decay}")
def test_updates_are_those_of_the_torch_engine(cfg: AdamW | Muon, layout: Layout) -> None:
    norms, wanted = _ours(cfg)
    found_norms, found = ranks.run(layout.ranks, _cores, cfg, layout)[0]
    assert found_norms == pytest.approx(norms, rel=2e-7)
    differences = _differences(found, wanted)
    worst = max(differences, key=lambda name: differences[name])
    assert differences[worst] <= 3e-7, (worst, differences[worst])


@pytest.mark.parametrize("cfg", [*ADAMW.values(), *MUON.values()], ids=lambda cfg: f"{cfg.kind}-{cfg.decay}")
def test_the_distributed_optimizer_makes_the_same_updates_or_says_why_not(cfg: AdamW | Muon) -> None:
    layout = Layout(ranks=2, distributed=True)
    if cfg.kind == "muon":
        (said, _) = ranks.run(2, _refused, cfg)
        assert "Write `distributed_optimizer: false`" in said
        return
    norms, wanted = _ours(cfg)
    found_norms, found = ranks.run(2, _cores, cfg, layout)[0]
    assert found_norms == pytest.approx(norms, rel=2e-7)
    assert max(_differences(found, wanted).values()) <= 3e-7


def _refused(cfg: Muon) -> str:
    layout = Layout(ranks=2, distributed=True)
    with building.parallel(layout) as group, pytest.raises(UserError) as raised:
        building.make(building.stage(optimizer=cfg), layout, group)
    return str(raised.value)


@pytest.mark.parametrize("clip", [None, 1e-3])
def test_without_a_clip_nothing_is_scaled_and_with_one_it_is(clip: float | None) -> None:
    cfg = tiny.ADAMW.model_copy(update={"clip": clip})
    _, found = ranks.run(1, _cores, cfg, Layout())[0]
    assert max(_differences(found, _ours(cfg)[1]).values()) <= 3e-7


def test_fused_matrices_are_orthogonalised_one_by_one() -> None:
    """Query, key, value, gate and up of one parameter: taken together they would come out otherwise."""
    from stages.train.muon import newton_schulz

    cfg = MUON["all"]
    gate, up = torch.randn(24, 16), torch.randn(24, 16)
    apart = [newton_schulz(part.mT[None], cfg.newton_schulz, 5)[0] for part in (gate, up)]
    together = newton_schulz(torch.cat((gate, up)).mT[None], cfg.newton_schulz, 5)[0].split(24, dim=1)
    assert all((a - b).norm() > 0.1 * a.norm() for a, b in zip(apart, together, strict=True))


def _moves(cfg: AdamW | Muon) -> dict[str, str]:
    with building.parallel(Layout()) as group:
        built = building.make(building.stage(optimizer=cfg), Layout(), group)
        return {one.placed.key: type(one.inner).__name__ for one in built.mover.owned}


def test_muon_moves_the_matrices_but_embedding_and_head() -> None:
    (moves,) = ranks.run(1, _moves, tiny.MUON)
    rest = {key for key, inner in moves.items() if inner != "MatrixMuon"}
    assert {key for key in moves if "norm" in key} | {"embedding.word_embeddings.weight", "output_layer.weight"} == rest
    assert len(moves) - len(rest) == 4 * building.CFG.layers
