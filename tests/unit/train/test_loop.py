"""The training loop on a stepper that computes nothing: when it reads, moves, checks, keeps and stops, and what of it
is written down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from stages.contract.ledger import Step
from stages.contract.spikes import Skips
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import BatchStep
from stages.spec.resolved_training import Piece, Schedule, Skip
from stages.train import loop, metrics
from stages.train.checkpoint import Counters
from stages.train.loop import Run, run_phase
from stages.train.metrics import Table, Value
from stages.train.ranks import Ranks
from stages.train.stopping import NonFiniteError, StoppedError, StopRequest
from tests.unit.train import tiny

BEHIND = 1000  # of the schedule's clock, when the stage begins
START = Counters(phase=0, phase_steps=0, phase_consumed=0, steps=0, consumed=0, clock=BEHIND)
# Steps end at 64, 128 and 150 units of the first phase, and at 64 and 128 of the second.
ENDS = (64, 128, 150, 214, 278)
DECAY = 0.5  # of the optimizer, up to the end of the second step; then twice that


def line(until: int) -> Schedule:
    """A rate that is the clock."""
    whole = Piece(start=0, end=until, shape="linear", first=0.0, last=float(until), p0=(0, 1), p1=(1, 1))
    return Schedule(name="clock", pieces=(whole,))


def stage(every: int = 1000, **optimizer: Any) -> Stage:
    """Two phases of rows of 32 tokens, two a step, on one clock."""
    batch = (BatchStep(after=0, sequences=2),)
    first = tiny.phase("next_token", name="first", budget=150, clock_start=BEHIND, batch=batch)
    second = tiny.phase("next_token", name="second", budget=128, clock_start=BEHIND + 150, batch=batch)
    return tiny.stage(
        {"llm": tiny.LLAMA}, (first, second), ("llm",), schedule=line(BEHIND + 278),
        optimizer=tiny.ADAMW.model_copy(update=optimizer),
        execution=tiny.EXECUTION.model_copy(update={"checkpoint_every": every}),
    )  # fmt: skip


class Rows(Table):
    """A table in memory."""

    def __init__(self) -> None:
        self.columns, self.rows = (), list[dict[str, Value]]()

    def add(self, row: Mapping[str, Value]) -> None:
        self.rows.append(dict(row))


class Steps:
    """A stepper that notes what is asked of it; step n has loss n / 10, norm n, and the extras n / 100 and -n."""

    extras: tuple[str, ...] = ("first", "second")

    def __init__(self, said: list[Any], number: int, numbers: Mapping[int, Sequence[float]]) -> None:
        self._said, self.number, self._numbers = said, number, numbers

    def gradients(self, step: Step) -> list[float]:
        self.number += 1
        self._said.append(("gradients", step.index))
        return [*self._numbers.get(self.number, (self.number / 10, self.number, self.number / 100, -self.number))]

    def update(self, lr: float, clock: int) -> None:
        self._said.append(("update", lr, clock))

    def supervised(self) -> int:
        return 10 * self.number

    def checksums(self) -> Mapping[str, str]:
        return {"rows": f"sum {self.number}"}

    def close(self) -> None:
        self._said.append("close")


class Trial:
    """A run of a stage, and all that the loop asked for, in order."""

    def __init__(self, made: Stage, numbers: Mapping[int, Sequence[float]] | None = None, **changes: Any) -> None:
        self.said, self.stage, self.stop = list[Any](), made, StopRequest()
        self.metrics, self.timing, self.checksums = Rows(), Rows(), Rows()
        self._numbers = numbers or {}
        fields: dict[str, Any] = {
            "checkpoint": self.checkpoint,
            "last_checkpoint": lambda: None,
            "broken": self.broken,
            "taken": lambda: self.said.append("taken"),
            "check": lambda: self.said.append("check"),
            "before_update": lambda: self.said.append("before_update"),
        }
        self.run = Run(made, self.metrics, self.timing, self.checksums, self.stop, **(fields | changes))

    def checkpoint(self, counters: Counters, wait: bool) -> Path:
        self.said.append(("checkpoint", counters, wait))
        return Path("partial")

    def broken(self) -> list[str]:
        self.said.append("broken")
        return []

    def phase(self, counters: Counters) -> Counters:
        """Train the phase that comes next."""
        steps = Steps(self.said, counters.steps, self._numbers)
        return run_phase(self.run, self.stage.phases[counters.phase], steps, counters)

    def whole(self) -> Counters:
        """Both phases."""
        return self.phase(self.phase(START))

    def told(self, kind: str) -> list[Any]:
        """What was asked for of one kind: all arguments of each."""
        return [one[1:] for one in self.said if isinstance(one, tuple) and one[0] == kind]


def stopping_after(trial: Trial, number: int) -> Callable[[], None]:
    """A `check` that asks for a stop once so many steps are made."""
    return lambda: trial.stop.ask() if len(trial.metrics.rows) == number else None


def test_an_update_has_the_rate_of_where_its_step_ends() -> None:
    trial = Trial(stage())
    trial.whole()
    assert trial.told("update") == [(BEHIND + end, BEHIND + end) for end in ENDS]
    assert trial.told("gradients") == [(0,), (1,), (2,), (0,), (1,)]


def test_counters_go_on_over_phases_and_those_of_a_phase_begin_anew() -> None:
    trial = Trial(stage())
    after_first = trial.phase(START)
    assert after_first == Counters(1, phase_steps=0, phase_consumed=0, steps=3, consumed=150, clock=BEHIND + 150)
    assert trial.phase(after_first) == Counters(2, 0, 0, steps=5, consumed=278, clock=BEHIND + 278)


def test_a_step_in_its_order() -> None:
    trial = Trial(stage())
    trial.phase(START)
    step = ["before_update", ("update", 1064.0, 1064), "taken", "check"]
    assert trial.said[:5] == [("gradients", 0), *step]
    assert trial.said[-3:] == ["check", "broken", "close"], "what a phase leaves is looked at, and then no step begins"


def test_a_row_says_what_its_step_did() -> None:
    decay = Schedule(
        name="decay",
        pieces=tuple(
            Piece(start=start, end=end, shape="constant", first=value, last=value, p0=(0, 1), p1=(1, 1))
            for start, end, value in ((0, BEHIND + 128, DECAY), (BEHIND + 128, BEHIND + 278, 2 * DECAY))
        ),
    )
    trial = Trial(stage(weight_decay=decay, skip=Skip(window=4, sigmas=100.0)))
    trial.whole()
    assert [(row["phase"], row["step"], row["tokens"], row["clock"]) for row in trial.metrics.rows] == [
        ("first" if number <= 3 else "second", number, end, BEHIND + end) for number, end in enumerate(ENDS, 1)
    ]
    assert trial.metrics.rows[3] == {
        "phase": "second", "step": 4, "tokens": 214, "clock": 1214, "lr": 1214.0, "loss": 0.4, "grad_norm": 4,
        "supervised": 40, "skipped": 0, "weight_decay": 2 * DECAY, "first": 0.04, "second": -4,
    }  # fmt: skip
    assert [row["weight_decay"] for row in trial.metrics.rows[1:3]] == [DECAY, 2 * DECAY]
    assert trial.checksums.rows == [{"step": number, "rows": f"sum {number}"} for number in range(1, 6)]
    units = [float(row["seconds"]) * float(row["tokens_per_second"]) for row in trial.timing.rows]
    assert units == pytest.approx([64, 64, 22, 64, 64])
    assert [row["step"] for row in trial.timing.rows] == [1, 2, 3, 4, 5]


def test_the_columns_of_a_table_in_their_order() -> None:
    assert loop.metric_columns(tiny.make("next_token")) == metrics.COMMON
    optimizer = tiny.MUON.model_copy(update={"weight_decay": line(1500), "skip": Skip(window=4, sigmas=3.0)})
    made = tiny.make("moe").model_copy(update={"optimizer": optimizer})
    own = ("skipped", "weight_decay", "aux_loss", "overload")
    assert loop.metric_columns(made) == (*metrics.COMMON, *own)


def test_a_checkpoint_is_written_every_so_many_steps_of_the_stage_but_for_a_phases_last() -> None:
    every_third, every_second = Trial(stage(every=3)), Trial(stage(every=2))
    every_third.whole()
    every_second.whole()
    assert not every_third.told("checkpoint")
    assert every_second.told("checkpoint") == [
        (Counters(0, phase_steps=2, phase_consumed=128, steps=2, consumed=128, clock=BEHIND + 128), False),
        (Counters(1, phase_steps=1, phase_consumed=64, steps=4, consumed=214, clock=BEHIND + 214), False),
    ]


@pytest.mark.parametrize(("number", "step"), [(2, 2), (4, 1)])
def test_what_was_asked_to_stop_goes_on_with_the_step_that_comes_next(number: int, step: int) -> None:
    trial = Trial(stage())
    trial.run.check = stopping_after(trial, number)
    with pytest.raises(StoppedError, match=f"^tiny/box: stopped after step {number}, resumable from partial.$"):
        trial.whole()
    ((kept, waits),) = trial.told("checkpoint")
    assert waits
    again = Trial(stage())
    ended = again.phase(kept)
    assert ended.steps == (3 if number == 2 else 5)
    assert again.told("gradients")[0] == (step,)
    assert [*trial.told("update"), *again.told("update")] == [(BEHIND + e, BEHIND + e) for e in ENDS[: ended.steps]]


def test_a_stop_that_another_rank_was_asked_for_stops_this_one_too() -> None:
    class Asked(Ranks):
        """The second of two, which writes nothing; the first was asked to stop."""

        def any(self, flag: bool) -> bool:
            return True

    trial = Trial(stage(), ranks=Asked(1, 1))
    trial.run.checkpoint = lambda counters, wait: None
    with pytest.raises(StoppedError, match="after step 1, the first rank says where"):
        trial.whole()
    assert [trial.metrics.rows, trial.timing.rows, trial.checksums.rows] == [[], [], []]


def test_a_branch_starts_after_a_step_of_the_stage() -> None:
    kept = list[Counters]()
    trial = Trial(stage(), keep={4: kept.append})
    trial.whole()
    assert kept == [Counters(1, phase_steps=1, phase_consumed=64, steps=4, consumed=214, clock=BEHIND + 214)]
    assert trial.said.count("broken") == 3, "after it, and at the ends of both phases"


@pytest.mark.parametrize(
    ("changes", "every", "asked", "step"),
    [({}, 1000, 0, 3), ({}, 2, 0, 2), ({"keep": {1: lambda _: None}}, 1000, 0, 1), ({}, 1000, 1, 1)],
    ids=["the end of a phase", "a checkpoint", "a branch", "a stop"],
)
def test_nothing_that_overflowed_is_kept(changes: dict[str, Any], every: int, asked: int, step: int) -> None:
    trial = Trial(stage(every), broken=lambda: ["llm.a", "llm.b"], **changes)
    trial.run.check = stopping_after(trial, asked)
    with pytest.raises(NonFiniteError, match=rf"the update of step {step} overflowed: 2 tensors .* llm\.a") as caught:
        trial.whole()
    assert caught.value.step == step
    assert not trial.told("checkpoint")


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((math.nan, 1.0, 0.0, 0.0), "loss is nan"),
        ((0.5, math.inf, 0.0, 0.0), "loss is 0.5, but the gradient's norm is inf"),
        ((0.5, 1.0, 0.0, math.nan), "loss is 0.5, but second is nan"),
    ],
)
def test_a_number_that_is_none_stops_before_anything_moves(numbers: Sequence[float], said: str) -> None:
    trial = Trial(stage(), {4: numbers})
    with pytest.raises(NonFiniteError) as caught:
        trial.whole()
    assert caught.value.step == 4
    assert f"phase second: step 4 (tokens 0 to 64 of the phase): {said}. Nothing was updated" in str(caught.value)
    assert "the samples from 0 to 1: `stages batch tiny/box --step 4 --scale mini`" in str(caught.value)
    assert len(trial.told("update")) == len(trial.metrics.rows) == 3


def test_a_skipped_step_moves_nothing_and_is_counted_in_what_goes_on() -> None:
    trial = Trial(stage(skip=Skip(window=4, sigmas=3.0)), {3: (0.3, 100.0, 0.0, 0.0)})
    ended = trial.whole()
    assert ended.skips == Skips((2, 100.0, 4, 5), 1)
    assert trial.told("update") == [(BEHIND + end, BEHIND + end) for end in ENDS if end != ENDS[2]]
    assert trial.said.count("before_update") == 4
    assert [row["skipped"] for row in trial.metrics.rows] == [0, 0, 1, 0, 0]
    assert (ended.steps, ended.consumed) == (5, 278)
