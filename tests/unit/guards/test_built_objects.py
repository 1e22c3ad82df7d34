"""The real engine on a tiny stage with one thing built or done wrongly: the guard stops it, nothing is put in place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.engines import received, run, torch_trainer
from stages.models import hf
from stages.models.rotary import Rotary
from stages.spec.resolved_models import Llama3Scaling, Rope
from stages.train import loop
from stages.train.optimizer import Optimizer
from tests.families.test_yarn import PAPER as YARN
from tests.unit.data.small import Small
from tests.unit.guards.small_stages import LLAMA, Patch, child, inputs, refused, stage
from tests.unit.train import tiny


def old_rate(patch: pytest.MonkeyPatch) -> None:
    """An optimizer whose group keeps the rate of the run before."""
    patch.setattr(Optimizer, "rates", lambda self, lr: dict.fromkeys(self._steps, 3e-4))


def stepped_twice(patch: pytest.MonkeyPatch) -> None:
    """A scheduler that moves whenever it is asked."""
    asked, real = iter(range(1000)), loop.learning_rate
    patch.setattr(loop, "learning_rate", lambda stage, clock: real(stage, clock) * (1 + next(asked)))


def restarted_late(patch: pytest.MonkeyPatch) -> None:
    """A schedule that begins again after a few steps."""
    real = loop.learning_rate
    patch.setattr(loop, "learning_rate", lambda stage, clock: real(stage, clock if clock < 500 else clock - 400))


def received_then(change: Callable[[Any], None]) -> Patch:
    def apply(patch: pytest.MonkeyPatch) -> None:
        real = received.receive

        def receive(*args: Any) -> Any:
            modules = real(*args)
            change(modules)
            return modules

        patch.setattr(received, "receive", receive)

    return apply


def other_base(modules: Any) -> None:
    modules["llm"].rotary = Rotary(Rope(base=500_000.0, llama3=None, interpolation=1.0), LLAMA.head_dim)


def unscaled(modules: Any) -> None:
    modules["llm"].rotary = Rotary(tiny.ROPE, LLAMA.head_dim)


@torch.no_grad()
def one_weight_again(modules: Any) -> None:
    modules["llm"].lm_head.weight[0, 0] += 1e-3


def frozen_moves(patch: pytest.MonkeyPatch) -> None:
    """Something outside of the optimizer writes into a frozen module."""
    real = Optimizer.step
    frozen: list[Any] = []
    received_then(lambda modules: frozen.append(modules["projector"]))(patch)

    def step(self: Optimizer, *args: Any) -> None:
        real(self, *args)
        with torch.no_grad():
            next(frozen[0].parameters()).mul_(0.999)

    patch.setattr(Optimizer, "step", step)


def nothing_moves(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Optimizer, "step", lambda self, gradients, lr, clock: None)


def not_frozen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(torch_trainer, "freeze", lambda stage, modules: None)


FRESH: tuple[tuple[str, str, Patch], ...] = (
    ("I-01", "a group left at the old rate", old_rate),
    ("I-02", "a schedule that moves when it is asked", stepped_twice),
    ("I-02", "a schedule that begins again", restarted_late),
    ("I-11", "a base changed after the model was built", received_then(other_base)),
    ("I-34", "a frozen module that moves", frozen_moves),
    ("I-34", "a trained module that does not", nothing_moves),
    ("I-34", "a frozen module that takes gradients", not_frozen),
)


@pytest.mark.parametrize(("id", "defect", "patch"), FRESH, ids=[one[1] for one in FRESH])
def test_a_wrongly_built_object_stops_the_stage(
    id: str, defect: str, patch: Patch, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch(monkeypatch)
    assert id in refused(stage(small), inputs(small, tmp_path))


def test_scaling_that_does_nothing_stops_the_stage(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received_then(unscaled)(monkeypatch)
    scaled = Rope(base=10_000.0, llama3=Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=64), interpolation=2.0)
    assert refused(stage(small).model_copy(update={"rope": scaled}), inputs(small, tmp_path)) == {"I-13"}


def unsized(modules: Any) -> None:
    modules["llm"].rotary.attention_factor = 1.0


def test_yarn_whose_attention_factor_is_left_out_stops_the_stage(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaled = Rope(base=100.0, llama3=None, interpolation=1.0, yarn=YARN)
    made = stage(small).model_copy(update={"rope": scaled})
    with monkeypatch.context() as patch:
        received_then(unsized)(patch)
        assert refused(made, inputs(small, tmp_path)) == {"I-13"}
    run(made, inputs(small, tmp_path))


def moments_zeroed(patch: pytest.MonkeyPatch) -> None:
    real = Optimizer.load

    def load(self: Optimizer, *args: Any) -> None:
        real(self, *args)
        for moment in self._moments.values():
            moment.zero_()

    patch.setattr(Optimizer, "load", load)


def moments_not_loaded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Optimizer, "load", lambda self, *args: None)


def weights_not_loaded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(hf, "load", lambda module, folder, paths: None)


HANDED: tuple[tuple[str, str, Patch], ...] = (
    ("I-15", "moments set to zero after they were loaded", moments_zeroed),
    ("I-15", "moments that are dropped on load", moments_not_loaded),
    ("I-15", "weights that are not loaded", weights_not_loaded),
    ("I-15", "one weight touched after it was loaded", received_then(one_weight_again)),
    ("I-12", "the parent's base wins over the child's", received_then(other_base)),
)


@pytest.mark.parametrize(("id", "defect", "patch"), HANDED, ids=[one[1] for one in HANDED])
def test_a_broken_hand_over_stops_the_child(
    id: str, defect: str, patch: Patch, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = stage(small)
    run(parent, inputs(small, tmp_path))
    made, given = child(parent, small, tmp_path)
    patch(monkeypatch)
    assert id in refused(made, given)


def test_a_child_that_reads_what_its_parent_read_is_stopped_unless_its_data_restarts(
    small: Small, tmp_path: Path
) -> None:
    parent = stage(small)
    run(parent, inputs(small, tmp_path))
    made, given = child(parent, small, tmp_path)
    assert refused(made.model_copy(update={"data": "continue"}), given) == {"I-18"}
    run(made, given)


def test_a_config_with_another_context_is_not_put_in_place(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hf.save
    monkeypatch.setattr(hf, "save", lambda m, cfg, rope, context, *rest: real(m, cfg, rope, context and 8, *rest))
    assert refused(stage(small), inputs(small, tmp_path)) == {"I-14"}


def test_a_config_with_another_base_is_not_put_in_place(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, other = hf.save, Rope(base=500_000.0, llama3=None, interpolation=1.0)
    monkeypatch.setattr(hf, "save", lambda m, cfg, rope, *rest: real(m, cfg, rope and other, *rest))
    assert refused(stage(small), inputs(small, tmp_path)) == {"I-14"}
