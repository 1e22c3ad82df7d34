"""A branch at a count of tokens equals a stage of that budget, bit for bit, and its trunk is not trained twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stages.commands.point import refuse_to_repeat
from stages.contract import ledger
from stages.data.loading.sample import Sample
from stages.engines import Inputs, run, training
from stages.engines.launch import read_job, write_job
from stages.errors import UserError
from stages.spec.key import phase_keys
from stages.spec.point_node import cut
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Coca, Resolution
from stages.store import manifest
from tests.unit.train import tiny

pytestmark = pytest.mark.usefixtures("made_up_data")
STEPS = 5  # checkpoints of the trunk's own lie after the third and the sixth


def two_phases() -> Stage:
    """The second phase is where the point lies, past a step that is partial."""
    first, second = tiny.phase("next_token", budget=3 * tiny.CONTEXT), tiny.phase("next_token", name="more")
    second = second.model_copy(update={"clock_start": first.budget})
    return tiny.stage({"llm": tiny.LLAMA}, (first, second), ("llm",))


def growing() -> Stage:
    """Contrastive training whose pictures grow after the point, which the beginning must not know."""
    stage = tiny.make("coca")
    steps = (Resolution(after=0, cap=16), Resolution(after=1000, cap=32))
    phase = stage.phases[0].model_copy(update={"coca": Coca(caption_weight=2.0, resolutions=steps)})
    return stage.model_copy(update={"phases": (phase,)})


def point_of(stage: Stage) -> Stage:
    """The stage after STEPS of its steps."""
    place, step = ledger.step_of(stage.phases, STEPS)
    at = sum(phase.budget for phase in stage.phases[:place]) + step.end
    return cut(stage, at).model_copy(update={"name": "point", "trunk": "tiny/box"})


def given(root: Path, stage: Stage, point: Stage) -> tuple[Inputs, Inputs]:
    """What the trunk and its point are built on."""
    keys, ends = phase_keys(stage, {}), phase_keys(point, {})
    trunk = replace(tiny.inputs(root, "a" * 32), phase_keys=keys, kept={STEPS: ends[-1]})
    return trunk, replace(tiny.inputs(root, "b" * 32), phase_keys=ends)


def result(root: Path, name: str) -> dict[str, str]:
    found = manifest.read(root / f"results/mini/tiny/{name}/manifest.json")
    return {shard.file: shard.blake3 for shard in found.shards} | {"counters": str(found.counters)}


@pytest.mark.parametrize("make", [lambda: tiny.make("moe"), two_phases, growing], ids=["moe", "two phases", "coca"])
def test_a_branch_equals_a_stage_of_its_budget(tmp_path: Path, make: Callable[[], Stage]) -> None:
    stage = make()
    point = point_of(stage)
    trunk, branch = given(tmp_path / "kept", stage, point)
    run(stage, trunk)
    refuse_to_repeat(point, branch)
    run(point, branch)
    alone = given(tmp_path / "alone", stage, point)[1]
    run(point, alone)
    assert result(tmp_path / "kept", "point") == result(tmp_path / "alone", "point")
    run(stage, replace(trunk, layout=alone.layout, kept={}))
    assert result(tmp_path / "alone", "box") == result(tmp_path / "kept", "box"), "a kept checkpoint changes no bit"


def test_a_trunk_goes_on_from_what_its_point_left_and_trains_no_step_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    class Counting(tiny.Data):
        def samples(self, first: int, count: int, tail: int) -> list[Sample]:
            read.append(first)
            return super().samples(first, count, tail)

    monkeypatch.setattr(training, "PhaseData", Counting)
    stage = tiny.make("next_token")
    point = point_of(stage)
    trunk, branch = given(tmp_path, stage, point)
    run(stage, trunk)
    trained = len(read)
    run(point, branch)
    again = read[trained:]
    last = ledger.step_of(point.phases, STEPS)[1].first_sample
    assert set(again) <= {last}, "only the last rows, for the check of the last weights"


def test_a_point_whose_trunk_kept_nothing_is_refused_with_its_cost_and_trained_when_told(tmp_path: Path) -> None:
    stage = tiny.make("next_token")
    point = point_of(stage)
    trunk, branch = given(tmp_path, stage, point)
    with pytest.raises(UserError, match=r"tiny/box is not done\. `stages run tiny/box --scale mini`"):
        refuse_to_repeat(point, branch)
    run(stage, replace(trunk, kept={}))
    cost = (
        r"without keeping a checkpoint at step 5.*same 5 steps \(768 tokens, which took tiny/box \d+ s\).*--train-again"
    )
    with pytest.raises(UserError, match=cost):
        refuse_to_repeat(point, branch)
    assert not (tmp_path / "results/mini/tiny/point").exists()
    run(point, branch)
    assert manifest.read(tmp_path / "results/mini/tiny/point/manifest.json").counters["consumed"] == 768


def test_ranks_hear_what_is_kept(tmp_path: Path) -> None:
    stage = tiny.make("next_token")
    trunk, _ = given(tmp_path, stage, point_of(stage))
    assert read_job(write_job(stage, trunk))[1].kept == trunk.kept
