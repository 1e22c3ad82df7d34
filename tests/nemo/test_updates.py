"""An update that is not the spec's ends the stage at once, with what is wrong, and nothing is saved of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from tests.nemo import engines, parity, ranks
from tests.nemo.engines import Layout, layout
from tests.nemo.traps import optimizer
from tests.unit.train import tiny


def extra() -> None:
    """One rank makes its third update twice; under the distributed optimizer that gathers weights a second time."""
    if os.environ["RANK"] != "1":
        return
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

    real, steps = DistributedOptimizer.step_with_ready_grads, [0]

    def step(self: DistributedOptimizer) -> bool:
        steps[0] += 1
        if steps[0] == 3:
            real(self)
        return bool(real(self))

    DistributedOptimizer.step_with_ready_grads = step


def stale() -> None:
    """In bf16 the model goes on with the weights that it had."""
    from megatron.core.optimizer.optimizer import Float16OptimizerWithFloat16Params

    Float16OptimizerWithFloat16Params._copy_main_params_to_model_params = lambda _: None


def rounded() -> None:
    """In bf16 the optimizer takes gradients over in bf16."""
    optimizer.rounded_gradients(pytest.MonkeyPatch())


def in_bf16() -> None:
    """In bf16 gradients are added up in bf16."""
    optimizer.sums_in_bf16(pytest.MonkeyPatch())


def undecayed() -> None:
    """One update is made without decay."""
    from stages.engines.nemo.optimizer import Mover

    real, steps = Mover.rates, [0]

    def rates(self: Mover, lr: float) -> dict[str, float]:
        found = real(self, lr)
        steps[0] += 1
        for group in self.core.param_groups if steps[0] == 5 else ():
            group["weight_decay"] = 0.0
        return found

    Mover.rates = rates  # type: ignore[method-assign]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "kind", "disturb", "said"),
    [
        (layout(2, distributed_optimizer=True), "nemo-fp32", extra, "a second update in one step"),
        (layout(), "nemo-bf16", stale, "WrongUpdateError: (.|\n)*what the model computes with of"),
        (layout(), "nemo-bf16", rounded, "WrongUpdateError: (.|\n)*gradient of .* not Megatron's sum"),
        (layout(), "nemo-bf16", in_bf16, "BuiltOtherwiseError: (.|\n)*type of its gradient's sum is 'torch.bfloat16'"),
        (layout(), "nemo-fp32", undecayed, "an update with weight decay 0.0, the spec's is 0.1"),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_it_ends_the_stage(where: Layout, kind: str, disturb: Callable[[], None], said: str, tmp_path: Path) -> None:
    given, stage = tiny.inputs(tmp_path), engines.on_nemo(parity.llama(), where)
    with pytest.raises(ranks.RankError, match=said):
        engines.run(stage.model_copy(update={"engine_class": kind}), given, disturb)
    assert not given.layout.manifest("tiny/box").exists()


def exported_otherwise() -> None:
    """Gate and up change places in what is to be written."""
    from stages.engines.nemo.trainer import NemoTrainer

    real, gathered = NemoTrainer.trained, NemoTrainer._gathered

    def exchanged(self: NemoTrainer) -> nn.ModuleDict | None:
        modules = gathered(self)
        for layer in [] if modules is None else modules["llm"].model.layers:
            layer.mlp.gate_proj, layer.mlp.up_proj = layer.mlp.up_proj, layer.mlp.gate_proj
        return modules

    def trained(self: NemoTrainer) -> object:
        NemoTrainer._gathered = exchanged  # type: ignore[method-assign]
        return real(self)

    NemoTrainer.trained = trained  # type: ignore[method-assign]


@pytest.mark.slow
def test_a_result_that_computes_something_else_than_what_was_trained_is_not_saved(tmp_path: Path) -> None:
    given = tiny.inputs(tmp_path)
    with pytest.raises(ranks.RankError, match=r"OtherModelError(.|\n)*behind layer 1(.|\n)*The result was not saved"):
        engines.run(engines.on_nemo(parity.llama(), layout(2, tp=2)), given, exported_otherwise)
    assert not given.layout.manifest("tiny/box").exists()
