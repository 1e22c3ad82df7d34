"""Steps that are skipped because their norm stands out: what they leave as it is, and stops in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.engines import Inputs, run
from stages.spec.resolved import Stage
from stages.spec.resolved_training import Skip
from stages.store import manifest
from stages.train import loop
from stages.train.optimizer import Optimizer
from stages.train.ranks import Ranks
from stages.train.replicated import Replicated
from tests.unit.train import tiny
from tests.unit.train.test_scheduled import rows

pytestmark = pytest.mark.usefixtures("made_up_data")
RULE = Skip(window=4, sigmas=3.0)
SPIKES = (5, 7)  # steps, counted from 1


def stage() -> Stage:
    made = tiny.make("moe")
    assert made.optimizer is not None
    return made.model_copy(update={"optimizer": made.optimizer.model_copy(update={"skip": RULE})})


@pytest.fixture
def spikes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The norms that the loop gets: 1, 1.1, 1, ... and a thousand at two steps; the updates that were made."""
    real, moved, updates = Replicated.gradients, Optimizer.step, list[int]()

    def gradients(self: Replicated, step: Any) -> list[float]:
        loss, _, *rest = real(self, step)
        return [loss, 1000.0 if step.index + 1 in SPIKES else 1 + step.index % 2 / 10, *rest]

    def step(self: Optimizer, *args: Any) -> None:
        updates.append(self._steps["llm"])
        moved(self, *args)

    monkeypatch.setattr(Replicated, "gradients", gradients)
    monkeypatch.setattr(Optimizer, "step", step)
    return updates


def test_a_skipped_step_moves_nothing_consumes_its_tokens_and_is_counted(tmp_path: Path, spikes: list[int]) -> None:
    run(stage(), tiny.inputs(tmp_path))
    table = rows(tmp_path)
    marked = [int(row["step"]) for row in table if row["skipped"] == "1"]
    assert marked == [5], "the spike at step 7 is none beside that at step 5"
    assert spikes == list(range(len(table) - 1)), "one update fewer, each of which counts"
    assert int(table[-1]["tokens"]) == tiny.make("moe").phases[0].budget
    found = manifest.read(tmp_path / "results/mini/tiny/box/manifest.json")
    assert found.counters["skipped"] == 1


def test_a_rank_skips_what_another_skips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own norms do not stand out; another's does at step 3."""
    own, others = list[float](), iter([False, False, True])
    real = Ranks.any

    def none_stands_out(_: Any, norm: float, __: Skip) -> bool:
        own.append(norm)
        return False

    def any_of(ranks: Ranks, flag: bool) -> bool:
        if own:  # asked after a norm was judged: whether any rank skips
            own.clear()
            return next(others, False)
        return real(ranks, flag)

    monkeypatch.setattr(loop.spikes, "spike", none_stands_out)
    monkeypatch.setattr(Ranks, "any", any_of)
    run(stage(), tiny.inputs(tmp_path))
    assert [int(row["step"]) for row in rows(tmp_path) if row["skipped"] == "1"] == [3]


@pytest.mark.usefixtures("spikes")
def test_a_run_that_stops_at_every_step_skips_what_an_undisturbed_one_skips(
    tmp_path: Path, run_with_stops: Callable[[Stage, Inputs, int], None]
) -> None:
    run(stage(), tiny.inputs(tmp_path / "whole"))
    run_with_stops(stage(), tiny.inputs(tmp_path / "cut"), 5)
    found = [manifest.read(tmp_path / one / "results/mini/tiny/box/manifest.json") for one in ("whole", "cut")]
    assert found[0].shards == found[1].shards
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")


def test_without_the_rule_nothing_is_written_of_it(tmp_path: Path) -> None:
    run(tiny.make("next_token"), tiny.inputs(tmp_path))
    assert "skipped" not in rows(tmp_path)[0]
    assert "skips" not in (tmp_path / "results/mini/tiny/box/state/counters.json").read_text()
