"""`weights: average`: the first weights of a child are the average, bit for bit, and the guard sees where not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.engines import received, run, torch_trainer
from stages.errors import UserError
from stages.guards.findings import GuardError
from stages.models.hf_names import to_hf
from stages.spec.resolved import Stage
from stages.train.optimizer import Optimizer
from tests.unit.train import tiny
from tests.unit.train.children import child
from tests.unit.train.test_average import STATE, WEIGHTS, averaged

pytestmark = pytest.mark.usefixtures("made_up_data")
BOX, EMA = "results/mini/tiny/box", 0.75


def taken(parent: Stage, root: Path, **changes: Any) -> tuple[Stage, Any]:
    """A child of the parent's average, that trains unless `changes` say otherwise."""
    stage, inputs = child(parent, root, "child", "b" * 32)
    init = stage.init["llm"].model_copy(update={"average": True, "optimizer": "reset"})
    return stage.model_copy(update={"init": {"llm": init}} | changes), inputs


def exported(parent: Stage, root: Path) -> tuple[Stage, Any]:
    return taken(parent, root, kind="export", phases=(), trained=(), schedule=None, optimizer=None)


@pytest.mark.parametrize("objective", ["next_token", "moe"])
def test_the_first_weights_are_the_average_that_a_plain_loop_computes(
    objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fp32, lerp as torch defines it: average + (1 - ema) * (weight - average), after each step from the first on."""
    parent, weights = averaged(tiny.make(objective), EMA), list[dict[str, torch.Tensor]]()
    begin, step = Optimizer.__init__, Optimizer.step

    def note(self: Optimizer) -> None:
        weights.append({slot.name: slot.parameter.detach().clone() for slot in self.slots})

    def begun(self: Optimizer, *args: Any, **more: Any) -> None:
        begin(self, *args, **more)
        note(self)

    def stepped(self: Optimizer, *args: Any, **more: Any) -> None:
        step(self, *args, **more)
        note(self)

    with monkeypatch.context() as patched:
        patched.setattr(Optimizer, "__init__", begun)
        patched.setattr(Optimizer, "step", stepped)
        run(parent, tiny.inputs(tmp_path))
    average = dict(weights[0])
    for after in weights[1:]:
        for name, weight in after.items():
            average[name] = torch.lerp(average[name], weight, 1 - EMA)
    last = load_file(tmp_path / BOX / WEIGHTS)
    plain = to_hf({name.removeprefix("llm."): one for name, one in average.items()})
    expected = last | plain
    assert len(weights) > 3
    assert not any(torch.equal(last[name], one) for name, one in plain.items())

    stage, inputs = exported(parent, tmp_path)
    run(stage, inputs)
    handed = load_file(tmp_path / "results/mini/tiny/child" / WEIGHTS)
    assert {name: one.dtype for name, one in handed.items()} == {name: one.dtype for name, one in expected.items()}
    assert all(torch.equal(handed[name], one) for name, one in expected.items())
    assert "average of its weights" in (tmp_path / "results/mini/tiny/child/README.md").read_text()


def test_a_child_trains_from_it_and_its_own_average_begins_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = averaged(tiny.make("next_token"))
    run(parent, tiny.inputs(tmp_path))
    average = load_file(tmp_path / BOX / STATE)
    stage, inputs = taken(parent, tmp_path)
    seen: dict[str, torch.Tensor] = {}
    make = torch_trainer.optimizer

    def noted(*args: Any) -> Optimizer:
        made = make(*args)
        seen.update({f"{slot.name}.ema": slot.parameter.detach().clone() for slot in made.slots})
        begun = dict(made.state())
        assert all(torch.equal(begun[name], one) for name, one in seen.items())
        assert not any(bool(one.any()) for name, one in begun.items() if not name.endswith(".ema"))
        return made

    monkeypatch.setattr(torch_trainer, "optimizer", noted)
    run(stage, inputs)
    assert seen
    assert all(torch.equal(average[name], one) for name, one in seen.items())


def test_weights_that_are_not_the_average_are_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last ones, as a hand-over that forgets what it is asked for would take."""
    parent = averaged(tiny.make("moe"))
    run(parent, tiny.inputs(tmp_path))
    stage, inputs = taken(parent, tmp_path)
    monkeypatch.setattr(
        received,
        "_average",
        lambda name, init, inputs, module: received.load(module, received.parent_folder(init, inputs), name),
    )
    with pytest.raises(GuardError, match=r"I-15.*weights of llm"):
        run(stage, inputs)


@pytest.mark.parametrize("damage", ["shape", "missing"])
def test_a_state_without_it_is_refused_by_its_file(damage: str, tmp_path: Path) -> None:
    parent = averaged(tiny.make("next_token"))
    run(parent, tiny.inputs(tmp_path))
    stage, inputs = taken(parent, tmp_path)
    path, name = tmp_path / BOX / STATE, "llm.lm_head.weight.ema"
    state = load_file(path)
    whole = state.pop(name)
    save_file(state | ({name: whole[1:].clone()} if damage == "shape" else {}), path)
    with pytest.raises(UserError, match=rf"{STATE}: average of llm.lm_head.weight: found .*; allowed: one of shape"):
        run(stage, inputs)
    assert not (tmp_path / "results/mini/tiny/child").exists()
