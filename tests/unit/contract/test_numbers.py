"""Numbers that a schedule gives: their range, where a stage begins and ends to read them, and hand-overs."""

from __future__ import annotations

import pytest

from stages.contract import numbers
from stages.spec.resolved import Stage
from stages.spec.resolved_training import Schedule
from tests.unit.contract._make import piece
from tests.unit.train import tiny

HALF = tiny.phase("next_token").budget
# Falls, jumps up at the border of two stages, and is constant from there on.
FALLING = Schedule(
    name="falling", pieces=(piece(0, HALF, "linear", 0.5, 0.25), piece(HALF, 2 * HALF, "constant", 0.75, 0.75))
)


def stage(number: float | Schedule, start: int = 0) -> Stage:
    made = tiny.stage({"llm": tiny.LLAMA}, (tiny.phase("next_token", clock_start=start),), ("llm",))
    return made.model_copy(update={"optimizer": tiny.ADAMW.model_copy(update={"weight_decay": number})})


def test_a_number_is_the_same_at_every_clock_and_a_schedule_needs_one() -> None:
    assert numbers.value(0.1, None) == 0.1
    assert numbers.value(FALLING, HALF) == 0.25, "a border belongs to the piece that ends there"
    with pytest.raises(ValueError, match="schedule 'falling' is read at no clock"):
        numbers.value(FALLING, None)


def test_the_range_is_that_of_all_ends_of_pieces() -> None:
    assert numbers.extremes(FALLING) == (0.25, 0.75)
    assert numbers.extremes(0.1) == (0.1, 0.1)


def test_a_stage_begins_with_the_piece_that_begins_where_it_does() -> None:
    first, second = stage(FALLING), stage(FALLING, start=HALF)
    for made, ends in ((first, (0.5, 0.25)), (second, (0.75, 0.75))):
        assert list(numbers.over(made, made.phases[0])) == [("weight_decay", *ends)]
        (one,) = [one for one in numbers.readings(made) if one.name == "weight_decay"]
        assert (one.first, one.last) == ends
    assert numbers.edge(first, second) == {"weight_decay": (0.25, 0.75)}
    assert numbers.edge(stage(0.1), second) == {"weight_decay": (0.1, 0.75)}
    assert numbers.edge(stage(0.1), stage(0.2, start=HALF)) == {}, "no schedule gives it"


def test_of_several_phases_a_hand_over_is_from_the_last_to_the_first() -> None:
    def phases(*values: float | Schedule) -> Stage:
        made = [tiny.phase("next_token", name=f"p{n}", z_loss=value) for n, value in enumerate(values)]
        for number in range(1, len(made)):
            made[number] = made[number].model_copy(update={"clock_start": number * HALF})
        return tiny.stage({"llm": tiny.LLAMA}, tuple(made), ("llm",))

    assert numbers.edge(phases(0.1, FALLING), phases(FALLING, 0.3)) == {"z_loss": (0.75, 0.5)}
