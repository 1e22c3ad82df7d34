"""A stage from its resolved spec to a finished result, on data made up from sample numbers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from stages.contract import schedule
from stages.engines import run, training
from stages.errors import UserError
from stages.spec.key import stage_key
from stages.spec.resolved_phases import Loops
from stages.store import manifest
from stages.train.loop import Run
from tests.unit.train import tiny
from tests.unit.train.children import child

pytestmark = pytest.mark.usefixtures("made_up_data")


def rows(root: Path, name: str = "box") -> list[dict[str, str]]:
    with (root / f"results/mini/tiny/{name}/metrics.csv").open() as file:
        return list(csv.DictReader(file))


def digests(root: Path, name: str = "box") -> dict[str, str]:
    return {shard.file: shard.blake3 for shard in record(root, name).shards}


def record(root: Path, name: str = "box") -> manifest.Manifest:
    return manifest.read(root / f"results/mini/tiny/{name}/manifest.json")


@pytest.mark.parametrize("objective", tiny.OBJECTIVES)
def test_every_objective_meets_its_budget_and_lowers_its_loss(objective: str, tmp_path: Path) -> None:
    stage = tiny.make(objective)
    run(stage, tiny.inputs(tmp_path))
    table = rows(tmp_path)
    assert stage.schedule is not None
    assert int(table[-1]["tokens"]) == stage.phases[0].budget
    assert [int(row["step"]) for row in table] == list(range(1, len(table) + 1))
    assert all(float(row["lr"]) == schedule.lr(stage.schedule, int(row["clock"])) for row in table)
    assert not manifest.verify(tmp_path / "results/mini/tiny/box", deep=True)
    if objective != "align":  # a frozen language model of random weights has nothing to tell the vision tower
        half = len(table) // 2
        assert sum(float(row["loss"]) for row in table[half:]) < sum(float(row["loss"]) for row in table[:half])


def test_names_decide_nothing(tmp_path: Path) -> None:
    """Names of the pipeline, the stage, its phases and its schedule are in no key, so no bit may hang on them."""
    stage = tiny.make("next_token")
    assert stage.schedule is not None
    names = {
        "pipeline": "other", "name": "another", "box": "Another",
        "phases": tuple(phase.model_copy(update={"name": "chief"}) for phase in stage.phases),
        "schedule": stage.schedule.model_copy(update={"name": "second"}),
    }  # fmt: skip
    renamed = stage.model_copy(update=names)
    assert stage_key(renamed, {}) == stage_key(stage, {})
    run(stage, tiny.inputs(tmp_path))
    run(renamed, tiny.inputs(tmp_path))
    places = [tmp_path / "results/mini" / ref / "manifest.json" for ref in ("tiny/box", "other/another")]
    assert len({manifest.identity(manifest.read(place)) for place in places}) == 1


def test_the_seed_decides_the_first_weights_and_the_order_of_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    class Watched(tiny.Data):
        def __init__(self, phase: Any, seed: int, scope: str, data_root: Path) -> None:
            seen.append(seed)
            super().__init__(phase, seed, scope, data_root)

    monkeypatch.setattr(training, "PhaseData", Watched)
    first: dict[int, dict[str, str]] = {}
    for seed in (7, 8):
        stage = tiny.make("next_token").model_copy(update={"seed": seed})
        run(stage, tiny.inputs(tmp_path / str(seed)))
        untouched = stage.model_copy(update={"name": "copy", "kind": "import", "phases": (), "trained": ()})
        run(untouched, tiny.inputs(tmp_path / str(seed), "b" * 32))
        first[seed] = digests(tmp_path / str(seed), "copy")
    assert list(dict.fromkeys(seen)) == [7, 8]
    assert first[7]["model/llm/model.safetensors"] != first[8]["model/llm/model.safetensors"]


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_as_many_checkpoints_are_kept_as_the_spec_says(
    keep: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a damaged last one costs no more than the steps since the one before."""

    class Killed(tiny.Data):
        def samples(self, first: int, count: int, tail: int) -> list[Any]:
            if first == 32:  # the seventh step
                raise KeyboardInterrupt
            return super().samples(first, count, tail)

    monkeypatch.setattr(training, "PhaseData", Killed)
    stage = tiny.make("next_token")
    every_step = stage.execution.model_copy(update={"checkpoint_every": 1, "keep_partials": keep})
    with pytest.raises(KeyboardInterrupt):
        run(stage.model_copy(update={"execution": every_step}), tiny.inputs(tmp_path))
    (attempt,) = (tmp_path / "results/.runs" / ("a" * 32)).glob("attempt-*")
    steps = [f"partial-{step:09d}" for step in range(7 - keep, 7)]
    assert sorted(path.name for path in attempt.glob("partial-*")) == steps


def test_the_batch_ramp_switches_at_the_first_border_past_its_threshold(tmp_path: Path) -> None:
    run(tiny.make("next_token"), tiny.inputs(tmp_path))
    ends = [int(row["tokens"]) // tiny.CONTEXT for row in rows(tmp_path)]
    assert ends == [4, 8, 12, 16, 24, 32, 40, 41]


def test_frozen_modules_keep_their_bits_and_trained_ones_move(tmp_path: Path) -> None:
    stage = tiny.make("align")
    run(stage, tiny.inputs(tmp_path))
    after = digests(tmp_path)
    untouched = stage.model_copy(update={"name": "copy", "kind": "import", "phases": (), "trained": ()})
    run(untouched, tiny.inputs(tmp_path, "b" * 32))
    before = digests(tmp_path, "copy")
    moved = {
        name
        for name in stage.modules
        if after[f"model/{name}/model.safetensors"] != before[f"model/{name}/model.safetensors"]
    }
    assert moved == {"vit", "projector"}


def test_a_router_bias_is_moved_and_handed_on(tmp_path: Path) -> None:
    stage = tiny.make("joint")
    run(stage, tiny.inputs(tmp_path))
    weights = load_file(tmp_path / "results/mini/tiny/box/model/llm/model.safetensors")
    (name,) = [name for name in weights if name.endswith("e_score_correction_bias")]
    assert weights[name].abs().max() > 0
    assert weights[name].abs().max() < 2e-3 * len(rows(tmp_path)) + 1e-6


def test_a_parent_that_is_away_when_training_ends_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be run again for its damage meanwhile, under the same key: its child's weeks are none the worse."""
    parent = tiny.make("next_token")
    run(parent, tiny.inputs(tmp_path))
    second, inputs = child(parent, tmp_path, "second", "b" * 32)
    checked = training.last_pass.check

    def away(*args: Any) -> None:
        (tmp_path / "results/mini/tiny/box").rename(tmp_path / "away")
        checked(*args)

    monkeypatch.setattr(training.last_pass, "check", away)
    run(second, inputs)
    assert record(tmp_path, "second").parents == inputs.parents
    assert record(tmp_path, "second").tier == "bit-exact"


def test_a_continued_stage_takes_over_moments_step_for_step(tmp_path: Path) -> None:
    """Two stages in a row with everything inherited end at the weights of one stage of both lengths."""
    whole = tiny.make("next_token")
    budget = 8 * tiny.CONTEXT * 4
    batch = (tiny.BatchStep(after=0, sequences=8),)
    whole = whole.model_copy(
        update={"phases": (tiny.phase("next_token", budget=budget, batch=batch),), "schedule": tiny.schedule(budget)}
    )
    run(whole, tiny.inputs(tmp_path / "whole"))
    cut = tmp_path / "cut"
    first = whole.model_copy(update={"phases": (tiny.phase("next_token", budget=budget // 2, batch=batch),)})
    run(first, tiny.inputs(cut))
    rest = tiny.phase("next_token", budget=budget // 2, batch=batch, clock_start=budget // 2)
    second, inputs = child(first, cut, "second", "b" * 32, phases=(rest,))

    class Shifted(tiny.Data):
        def samples(self, first: int, count: int, tail: int) -> list[Any]:
            return super().samples(first + 16, count, tail)

    training.PhaseData = Shifted  # type: ignore[misc, assignment]
    run(second, inputs)
    for file in ("model/llm/model.safetensors", "state/optimizer.safetensors"):
        assert digests(tmp_path / "whole")[file] == digests(cut, "second")[file]


def test_a_reset_optimizer_starts_at_step_one(tmp_path: Path) -> None:
    first = tiny.make("next_token")
    run(first, tiny.inputs(tmp_path))
    second, inputs = child(first, tmp_path, "second", "b" * 32)
    second = second.model_copy(update={"init": {"llm": second.init["llm"].model_copy(update={"optimizer": "reset"})}})
    run(second, inputs)
    state = load_file(tmp_path / "results/mini/tiny/second/state/optimizer.safetensors")
    assert int(state["llm.step"]) == len(rows(tmp_path, "second"))


def test_upcycling_copies_weights_and_moments_by_the_map(tmp_path: Path) -> None:
    first = tiny.stage({"llm": tiny.OURO}, (tiny.phase("looped", loops=Loops(count=4, beta=0.1)),), ("llm",))
    run(first, tiny.inputs(tmp_path))
    deeper = tiny.OURO.model_copy(update={"layers": 4})
    second, inputs = child(
        first, tmp_path, "deep", "b" * 32, kind="upcycle", phases=(), modules={"llm": deeper}, trained=()
    )
    init = second.init["llm"].model_copy(update={"weights": "upcycle", "layer_map": (0, 1, 0, 1)})
    run(second.model_copy(update={"init": {"llm": init}, "optimizer": None, "schedule": None}), inputs)
    base = tmp_path / "results/mini/tiny"
    for file in ("model/llm/model.safetensors", "state/optimizer.safetensors"):
        parent, deep = load_file(base / "box" / file), load_file(base / "deep" / file)
        for name, tensor in deep.items():
            source = name.replace("layers.2.", "layers.0.").replace("layers.3.", "layers.1.")
            assert torch.equal(tensor, parent[source]), name
        assert any("layers.3." in name for name in deep)
    config = json.loads((base / "deep/model/llm/config.json").read_text())
    assert config["stages"]["loops"] == 2


def test_a_kept_stage_is_a_pointer_that_a_child_follows(tmp_path: Path) -> None:
    first = tiny.make("next_token")
    run(first, tiny.inputs(tmp_path))
    kept, inputs = child(first, tmp_path, "kept", "b" * 32, kind="keep", phases=(), trained=())
    left = inputs.layout.run("b" * 32) / "ranks-here.7.json"  # by a launcher that was killed
    left.parent.mkdir(parents=True)
    left.touch()
    run(kept, inputs)
    assert not left.exists()
    assert record(tmp_path, "kept").points_to == "tiny/box"
    assert not list((tmp_path / "results/mini/tiny/kept").rglob("*.safetensors"))
    exported, inputs = child(kept, tmp_path, "out", "c" * 32, kind="export", phases=(), trained=())
    run(exported, inputs)
    name = "model/llm/model.safetensors"
    assert digests(tmp_path, "out")[name] == digests(tmp_path)[name]
    assert "tiny/kept" in (tmp_path / "results/mini/tiny/out/README.md").read_text()


def test_a_stand_in_is_called_so_all_the_way_down(tmp_path: Path) -> None:
    first = tiny.make("next_token").model_copy(update={"kind": "import"})
    init = first.init["llm"].model_copy(update={"weights": "release", "release": "llama", "stand_in": True})
    first = first.model_copy(update={"init": {"llm": init}})
    run(first, tiny.inputs(tmp_path))
    exported, inputs = child(first, tmp_path, "out", "b" * 32, kind="export", phases=(), trained=())
    run(exported, inputs)
    assert record(tmp_path).stand_in
    assert record(tmp_path, "out").stand_in
    assert "Stand-in" in (tmp_path / "results/mini/tiny/out/README.md").read_text()


def test_an_inherited_optimizer_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    stage = tiny.make("next_token")
    run(stage.model_copy(update={"kind": "import", "phases": (), "trained": ()}), tiny.inputs(tmp_path))
    second, inputs = child(stage, tmp_path, "second", "b" * 32)
    with pytest.raises(UserError, match="optimizer: reset"):
        run(second, inputs)


def test_a_changed_second_phase_keeps_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = (tiny.phase("next_token"), tiny.phase("next_token", name="late", clock_start=tiny.phase("sft").budget))
    stage = tiny.stage({"llm": tiny.LLAMA}, parts, ("llm",))
    run(stage, tiny.inputs(tmp_path, phases=2))
    changed = stage.model_copy(update={"phases": (parts[0], parts[1].model_copy(update={"objective": "sft"}))})
    seen: list[str] = []
    monkeypatch.setattr(training, "run_phase", _spy(seen, training.run_phase))
    run(changed, tiny.inputs(tmp_path, "b" * 32, phases=2))
    assert seen == ["late"]
    assert [row["phase"] for row in rows(tmp_path)] == ["main"] * 8 + ["late"] * 8


def _spy(seen: list[str], inner: Any) -> Any:
    def run_phase(run: Run, phase: Any, *rest: Any) -> Any:
        seen.append(phase.name)
        return inner(run, phase, *rest)

    return run_phase
