"""Numbers that a schedule gives, as a run takes them: at the tokens consumed, in every objective, over a stop."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stages.contract import numbers
from stages.engines import Inputs, run
from stages.guards.findings import GuardError
from stages.spec.numbers import OF_OPTIMIZER
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.spec.resolved_training import Muon, Piece, Schedule
from stages.store import manifest
from stages.train import loop
from stages.train.optimizer import Optimizer
from stages.train.param_groups import Slot
from tests.unit.train import tiny

pytestmark = pytest.mark.usefixtures("made_up_data")
SWITCH = 12 * tiny.CONTEXT  # after three steps of four sequences
NUMBERS = (
    ("looped", "loops.beta"),
    ("moe", "router.bias_update"),
    ("moe", "router.aux_loss"),
    ("coca", "coca.caption_weight"),
    ("regularised", "z_loss"),
)


def steps(end: int, *values: float) -> Schedule:
    """One value up to SWITCH, then another."""
    starts, ends = (0, SWITCH)[: len(values)], (*((SWITCH,) if len(values) > 1 else ()), end)
    pieces = (
        Piece(start=a, end=b, shape="constant", first=value, last=value, p0=(0, 1), p1=(1, 1))
        for a, b, value in zip(starts, ends, values, strict=True)
    )
    return Schedule(name="steps", pieces=tuple(pieces))


def given(stage: Stage, name: str, *factors: float) -> Stage:
    """The stage with a number given by a schedule, in multiples of what it states."""
    block, _, key = name.rpartition(".")
    (phase,), optimizer = stage.phases, stage.optimizer
    held: Any = optimizer if name in OF_OPTIMIZER else getattr(phase, block) if block else phase
    plain = getattr(held, key)
    changed = held.model_copy(update={key: steps(phase.budget, *(plain * factor for factor in factors))})
    if held is phase:
        return stage.model_copy(update={"phases": (changed,)})
    if not block:
        return stage.model_copy(update={"optimizer": changed})
    return stage.model_copy(update={"phases": (phase.model_copy(update={block: changed}),)})


def regularised() -> Stage:
    """Next-token prediction with a z-loss."""
    stage = tiny.make("next_token")
    return stage.model_copy(update={"phases": (stage.phases[0].model_copy(update={"z_loss": 0.01}),)})


def rows(root: Path, leave_out: tuple[str, ...] = ()) -> list[dict[str, str]]:
    with (root / "results/mini/tiny/box/metrics.csv").open() as file:
        return [{name: one for name, one in row.items() if name not in leave_out} for row in csv.DictReader(file)]


def digests(root: Path) -> dict[str, str]:
    found = manifest.read(root / "results/mini/tiny/box/manifest.json")
    return {shard.file: shard.blake3 for shard in found.shards if "metrics" not in shard.file}


@pytest.mark.parametrize(("objective", "name"), NUMBERS)
def test_a_phase_takes_the_value_at_its_tokens_and_its_bits_are_those_of_the_plain_number_until_it_changes(
    objective: str, name: str, tmp_path: Path
) -> None:
    stage = regularised() if objective == "regularised" else tiny.make(objective)
    run(stage, tiny.inputs(tmp_path / "plain"))
    run(given(stage, name, 1, 0.5), tiny.inputs(tmp_path / "switched"))
    plain, switched = (rows(tmp_path / one, (name,)) for one in ("plain", "switched"))
    last = next(number for number, row in enumerate(plain) if int(row["clock"]) == SWITCH)
    assert switched[: last + 1] == plain[: last + 1]
    if name != "router.bias_update":  # it moves what the next step chooses by, and is in no loss
        assert switched[last + 1] != plain[last + 1], "the step that ends behind the change has the other value"
    assert digests(tmp_path / "switched") != digests(tmp_path / "plain")
    recorded = [float(row[name]) for row in rows(tmp_path / "switched")]
    assert recorded == [recorded[0]] * (last + 1) + [recorded[0] / 2] * (len(recorded) - last - 1)


@pytest.mark.parametrize("name", ["weight_decay", "beta1", "beta2", "momentum"])
def test_an_optimizer_takes_the_value_at_the_clock_of_the_step(name: str) -> None:
    """As one that states that value: in the steps before the change, and in those after it."""
    plain = {"weight_decay": 0.1, "beta1": 0.9, "beta2": 0.95, "momentum": 0.95}[name]
    scheduled = tiny.MUON.model_copy(update={name: steps(2 * SWITCH, plain, plain / 2)})
    halved = tiny.MUON.model_copy(update={name: plain / 2})
    for clock, stated in ((SWITCH, tiny.MUON), (SWITCH + 1, halved)):
        assert torch.equal(moved(scheduled, clock), moved(stated, None))
    assert not torch.equal(moved(scheduled, SWITCH), moved(scheduled, SWITCH + 1))
    with pytest.raises(ValueError, match="read at no clock"):
        moved(scheduled, None)


def moved(cfg: Muon, clock: int | None) -> Tensor:
    """A matrix and a vector after two steps with gradients of other directions, laid flat."""
    draw = torch.Generator().manual_seed(0)
    parts = [nn.Parameter(torch.randn(*size, generator=draw)) for size in ((4, 3), (5,))]
    slots = [Slot("llm", f"llm.{number}", one, one.ndim == 2) for number, one in enumerate(parts)]
    made = Optimizer(cfg, slots)
    for _ in range(2):
        made.step(tiny.unclipped([torch.randn(one.shape, generator=draw) for one in parts]), 0.1, clock)
    return torch.cat([one.detach().flatten() for one in parts])


def test_a_z_loss_is_in_the_loss_and_its_mean_in_a_column(tmp_path: Path) -> None:
    for name, stage in (("plain", tiny.make("next_token")), ("z", regularised())):
        run(stage, tiny.inputs(tmp_path / name))
    (plain, *_), (first, *_) = rows(tmp_path / "plain"), rows(tmp_path / "z")
    added = 0.01 * float(first["z_squared"])
    assert added > 0.01
    assert float(first["loss"]) == pytest.approx(float(plain["loss"]) + added, rel=1e-6)


def everything() -> Stage:
    """A model with experts under Muon, all of whose numbers move."""
    stage = tiny.make("moe")
    for name in ("weight_decay", "beta1", "beta2", "momentum", "router.bias_update", "router.aux_loss"):
        stage = given(stage, name, 1, 0.5)
    return stage


def test_a_stop_between_two_values_changes_no_bit(
    tmp_path: Path, run_with_stops: Callable[[Stage, Inputs, int], None]
) -> None:
    stage = everything()
    run(stage, tiny.inputs(tmp_path / "whole"))
    run_with_stops(stage, tiny.inputs(tmp_path / "cut"), 4)
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    assert set(numbers.scheduled(stage)) <= rows(tmp_path / "cut")[0].keys()


def test_an_optimizer_that_keeps_its_first_value_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = everything()
    monkeypatch.setattr(Optimizer, "numbers", lambda self, clock: dict.fromkeys(OF_OPTIMIZER, 0.5))
    with pytest.raises(GuardError, match=r"I-01.*weight_decay 0\.5"):
        run(stage, tiny.inputs(tmp_path))


def test_a_row_with_another_value_than_the_schedule_s_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stands_still(stage: Stage, phase: Phase, clock: int) -> dict[str, float]:
        return numbers.at(stage, phase, min(clock, SWITCH))

    monkeypatch.setattr(loop, "numbers", SimpleNamespace(at=stands_still, scheduled=numbers.scheduled))
    with pytest.raises(GuardError, match=r"I-02.*loops\.beta"):
        run(given(tiny.make("looped"), "loops.beta", 1, 0.5), tiny.inputs(tmp_path))
