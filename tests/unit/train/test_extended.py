"""A larger vocabulary as a hand-over: old rows and their moments as they were, new ones by the stated rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file

from stages.engines import run
from stages.errors import UserError
from stages.guards.findings import GuardError
from stages.models import build, extend
from stages.spec.resolved import Init, Stage
from stages.train.optimizer import Optimizer
from tests.unit.train import tiny
from tests.unit.train.children import child

pytestmark = pytest.mark.usefixtures("made_up_data")
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
MORE = tiny.VOCAB + 24
Rule = Literal["mean", "fresh"]


def weights(root: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(root / f"results/mini/tiny/{name}/model/llm/model.safetensors")


def grown(parent: Stage, root: Path, rule: Rule, rows: int, **changes: Any) -> tuple[Stage, Any]:
    """A stage that takes the parent over with a larger vocabulary, of whose rows the first `rows` are the parent's."""
    stage, inputs = child(parent, root, "grown", "b" * 32)
    init = Init(
        weights="inherit", parent="tiny/box", release=None, optimizer="inherit", layer_map=None, stand_in=False,
        extend=rule, rows=rows,
    )  # fmt: skip
    larger = stage.modules["llm"].model_copy(update={"vocab": MORE})
    return stage.model_copy(update={"modules": {"llm": larger}, "init": {"llm": init}} | changes), inputs


def passed_on(stage: Stage) -> dict[str, Any]:
    """What makes a stage of one that only hands on, so that what it received can be looked at."""
    return {"kind": "import", "phases": (), "trained": (), "schedule": None, "optimizer": None}


@pytest.mark.parametrize("rule", ["mean", "fresh"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_old_rows_are_the_parents_and_new_ones_follow_the_rule(tmp_path: Path, rule: Rule, tied: bool) -> None:
    parent = tiny.make("next_token")
    parent = parent.model_copy(update={"modules": {"llm": parent.modules["llm"].model_copy(update={"tied": tied})}})
    run(parent, tiny.inputs(tmp_path))
    rows = tiny.VOCAB - 3  # three rows of the parent's are padding
    stage, inputs = grown(parent, tmp_path, rule, rows)
    stage = stage.model_copy(update=passed_on(stage))
    run(stage, inputs)
    before, after = weights(tmp_path, "box"), weights(tmp_path, "grown")
    fresh = build.make(stage.modules["llm"], stage.rope, "cpu")
    build.initialise(fresh, "llm", stage.modules["llm"], stage.seed)
    assert set(before) == set(after) == set(fresh.state_dict())
    assert (HEAD in before) != tied
    for name, tensor in before.items():
        if name not in (EMBED, HEAD):
            assert torch.equal(after[name], tensor), name
            continue
        assert after[name].shape == (MORE, tensor.shape[1])
        assert torch.equal(after[name][:rows], tensor[:rows])
        wanted = tensor[:rows].double().mean(0).float() if rule == "mean" else fresh.state_dict()[name][rows:]
        assert torch.equal(after[name][rows:], wanted.expand(MORE - rows, -1))


def test_moments_of_old_rows_go_on_and_those_of_new_rows_are_zero(tmp_path: Path) -> None:
    parent = tiny.make("next_token")
    run(parent, tiny.inputs(tmp_path))
    rows = tiny.VOCAB - 3
    stage, inputs = grown(parent, tmp_path, "mean", rows)
    run(stage.model_copy(update=passed_on(stage)), inputs)
    before, after = (
        load_file(tmp_path / f"results/mini/tiny/{name}/state/optimizer.safetensors") for name in ("box", "grown")
    )
    assert set(before) == set(after)
    tables = [name for name in before if extend.is_table(name) and before[name].ndim == 2]
    assert len(tables) == 4  # two moments of two tables
    for name, tensor in before.items():
        if name in tables:
            assert torch.equal(after[name][:rows], tensor[:rows])
            assert tensor[:rows].any()
            assert after[name].shape[0] == MORE
            assert not after[name][rows:].any()
        else:
            assert torch.equal(after[name], tensor), name


def test_it_trains_on_with_the_larger_tables(tmp_path: Path) -> None:
    parent = tiny.make("next_token")
    run(parent, tiny.inputs(tmp_path))
    stage, inputs = grown(parent, tmp_path, "mean", tiny.VOCAB)
    run(stage, inputs)
    before, after = weights(tmp_path, "box"), weights(tmp_path, "grown")
    assert after[EMBED].shape == (MORE, before[EMBED].shape[1])
    assert not torch.equal(after[EMBED][: tiny.VOCAB], before[EMBED])


@pytest.mark.parametrize("what", ["weights", "moments"])
def test_an_old_row_that_was_lost_stops_the_stage_before_its_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    parent = tiny.make("next_token")
    run(parent, tiny.inputs(tmp_path))
    stage, inputs = grown(parent, tmp_path, "mean", tiny.VOCAB)
    name = "extended" if what == "weights" else "moments"
    whole = getattr(extend, name)

    def loses(*args: Any) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = whole(*args)
        key = next(key for key in sorted(found) if extend.is_table(key) and found[key].ndim == 2)
        found[key][5] = 0
        return found

    monkeypatch.setattr(extend, name, loses)
    with pytest.raises((GuardError, UserError), match=r"I-15.*differ|of llm: 1 of"):
        run(stage, inputs)


def beside(parent: Stage, root: Path) -> tuple[Stage, Any]:
    """A child whose language model has a larger vocabulary, and other modules that are taken as they are."""
    stage, inputs = child(parent, root, "grown", "b" * 32)
    larger = stage.modules["llm"].model_copy(update={"vocab": MORE})
    init = stage.init["llm"].model_copy(update={"extend": "mean", "rows": tiny.VOCAB})
    changes = {"modules": {**stage.modules, "llm": larger}, "init": {**stage.init, "llm": init}}
    return stage.model_copy(update=changes), inputs


@pytest.mark.parametrize("objective", ["align", "preference"])
def test_a_model_with_new_rows_is_frozen_to_the_end(tmp_path: Path, objective: str) -> None:
    """Beside a tower that learns, and as the reference of preferences."""
    parent = tiny.make(objective)
    run(parent, tiny.inputs(tmp_path))
    stage, inputs = beside(parent, tmp_path)
    run(stage, inputs)
    before, after = weights(tmp_path, "box"), weights(tmp_path, "grown")
    assert after[EMBED].shape == (MORE, before[EMBED].shape[1])
    assert torch.equal(after[EMBED][: tiny.VOCAB], before[EMBED]) == (objective == "align")


def test_a_larger_model_that_does_not_move_stops_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = tiny.make("next_token")
    run(parent, tiny.inputs(tmp_path))
    stage, inputs = grown(parent, tmp_path, "mean", tiny.VOCAB)
    monkeypatch.setattr(Optimizer, "step", lambda self, gradients, lr, clock: None)
    with pytest.raises(GuardError, match="I-34"):
        run(stage, inputs)
