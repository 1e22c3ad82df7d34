"""The average of the weights that an optimizer keeps: its values, over stops, and what a child takes over of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from stages.engines import Inputs, run
from stages.spec.resolved import Stage
from stages.spec.resolved_training import Skip
from stages.store import manifest
from stages.train.optimizer import Optimizer
from stages.train.param_groups import Slot
from stages.train.replicated import Replicated
from tests.unit.train import tiny
from tests.unit.train.children import child
from tests.unit.train.test_scheduled import given, steps

pytestmark = pytest.mark.usefixtures("made_up_data")
STATE, WEIGHTS = "state/optimizer.safetensors", "model/llm/model.safetensors"


def averaged(stage: Stage, ema: Any = 0.5, **changes: Any) -> Stage:
    assert stage.optimizer is not None
    return stage.model_copy(update={"optimizer": stage.optimizer.model_copy(update={"ema": ema, **changes})})


def state(root: Path, name: str = "box") -> dict[str, torch.Tensor]:
    return load_file(root / f"results/mini/tiny/{name}" / STATE)


def averages(root: Path, name: str = "box") -> dict[str, torch.Tensor]:
    return {key: one for key, one in state(root, name).items() if key.endswith(".ema")}


def test_it_is_the_mean_of_the_weights_after_every_step() -> None:
    weight = nn.Parameter(torch.tensor([4.0]))
    plain = tiny.ADAMW.model_copy(update={"ema": steps(2 * 384, 0.5, 0.75), "weight_decay": 0.0})
    made, expected = Optimizer(plain, [Slot("llm", "llm.w", weight, False)]), 4.0
    for clock, ema in ((1, 0.5), (384, 0.5), (385, 0.75)):
        made.step(tiny.unclipped([torch.ones(1)]), 0.1, clock)
        expected = ema * expected + (1 - ema) * float(weight.detach())
    assert float(made.state()["llm.w.ema"]) == pytest.approx(expected, rel=1e-6)
    assert weight.item() < expected < 4.0


def test_with_a_skipped_step_and_a_scheduled_decay_stops_change_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_with_stops: Callable[[Stage, Inputs, int], None]
) -> None:
    stage = averaged(given(tiny.make("moe"), "weight_decay", 1, 0.5), skip=Skip(window=4, sigmas=3.0))
    real = Replicated.gradients

    def gradients(self: Replicated, step: Any) -> list[float]:
        loss, _, *rest = real(self, step)
        return [loss, 1000.0 if step.index == 4 else 1 + step.index % 2 / 10, *rest]

    monkeypatch.setattr(Replicated, "gradients", gradients)
    run(stage, tiny.inputs(tmp_path / "whole"))
    run_with_stops(stage, tiny.inputs(tmp_path / "cut"), 5)
    whole, cut = (manifest.read(tmp_path / one / "results/mini/tiny/box/manifest.json") for one in ("whole", "cut"))
    assert whole.shards == cut.shards
    assert whole.counters == cut.counters
    assert whole.counters["skipped"] == 1
    assert averages(tmp_path / "cut")


def test_the_weights_are_those_of_a_run_without_it(tmp_path: Path) -> None:
    for name, stage in (("plain", tiny.make("next_token")), ("kept", averaged(tiny.make("next_token")))):
        run(stage, tiny.inputs(tmp_path / name))
    plain, kept = (load_file(tmp_path / one / "results/mini/tiny/box" / WEIGHTS) for one in ("plain", "kept"))
    assert all(torch.equal(plain[name], kept[name]) for name in plain)
    assert not averages(tmp_path / "plain")


@pytest.mark.parametrize(
    ("parent", "own", "handed"), [(0.5, 1 - 2**-20, True), (None, 1 - 2**-20, False), (0.5, None, False)]
)
def test_a_child_goes_on_with_its_parent_s_average_or_begins_at_its_weights(
    parent: float | None, own: float | None, handed: bool, tmp_path: Path
) -> None:
    """Its own decay is so near 1 that what it began at is still there."""
    above = tiny.make("next_token")
    above = averaged(above, parent) if parent is not None else above
    run(above, tiny.inputs(tmp_path))
    made, inputs = child(above, tmp_path, "child", "b" * 32)
    run(averaged(made, own), inputs)
    name = "llm.lm_head.weight"
    if own is None:
        assert not averages(tmp_path, "child")
        return
    weights = load_file(tmp_path / "results/mini/tiny/box" / WEIGHTS)["lm_head.weight"]
    began = averages(tmp_path)[f"{name}.ema"] if handed else weights
    torch.testing.assert_close(averages(tmp_path, "child")[f"{name}.ema"], began, rtol=1e-4, atol=1e-6)
    if handed:
        assert not torch.allclose(began, weights, rtol=1e-4, atol=1e-6)
