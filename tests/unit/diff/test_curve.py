"""What became of a learning rate, on schedules that are written out."""

from __future__ import annotations

import math
from typing import Any

import pytest

from stages.diff.curve import POINTS, CurveChange, compare
from stages.spec.resolved import Stage
from stages.spec.resolved_training import Piece, Schedule
from tests.unit.train import tiny

START = 1000  # on the schedule's clock, where the stage begins


def stage(budget: int, *steps: tuple[int, float], start: int = START) -> Stage:
    """A stage whose rate is constant up to each of these clocks, which count from where the stage begins."""
    ends = [start + end for end, _ in steps]
    pieces = tuple(
        Piece(start=begin, end=end, shape="constant", first=rate, last=rate, p0=(0, 1), p1=(1, 1))
        for begin, end, (_, rate) in zip((0, *ends), ends, steps, strict=False)
    )
    phase = tiny.phase("next_token", budget=budget, clock_start=start)
    return tiny.stage({"llm": tiny.LLAMA}, (phase,), ("llm",), schedule=Schedule(name="steps", pieces=pieces))


def test_the_same_rates_at_the_same_distance_from_the_start_are_no_change() -> None:
    assert compare(stage(100, (100, 1.0)), stage(100, (100, 1.0), start=5000)) is None


def test_a_longer_stage_has_the_same_curve_up_to_where_the_shorter_ends() -> None:
    longer = compare(stage(100, (100, 1.0)), stage(150, (150, 1.0)))
    assert longer == CurveChange(START + 100, False, 0.0, (1.0, 1.0), (1.0, 1.0), (1.0, 1.0))
    assert compare(stage(150, (150, 1.0)), stage(100, (100, 1.0))) == longer


def test_a_change_begins_at_the_first_unit_that_differs_on_the_newer_clock() -> None:
    found = compare(stage(100, (40, 2.0), (100, 4.0)), stage(100, (60, 2.0), (100, 1.0), start=7000))
    assert found is not None
    assert (found.first_clock, found.everywhere) == (7041, False)
    assert found.largest == -0.75, "the larger one, be it a fall: half of the rate is gone at 41, three quarters at 61"
    assert (found.start, found.end, found.peak) == ((2.0, 2.0), (4.0, 1.0), (4.0, 2.0))


def test_a_piece_between_two_samples_of_the_curve_is_seen() -> None:
    length = 1000 * POINTS
    flat, bump = stage(length, (length, 1.0)), stage(length, (5003, 1.0), (5006, 3.0), (length, 1.0))
    found = compare(flat, bump)
    assert found is not None
    assert (found.first_clock, found.largest, found.peak) == (START + 5004, 2.0, (1.0, 3.0))


def test_another_shape_between_two_samples_of_the_curve_is_seen() -> None:
    """Both have the same rates at the borders of their pieces, of which one is shorter than a sample."""
    ends, length = (5003, 5900), 1000 * POINTS

    def of(shape: Any) -> Stage:
        made = stage(length, (ends[0], 1.0), (ends[1], 1.0), (length, 3.0))
        assert made.schedule is not None
        first, second, third = made.schedule.pieces
        rise = second.model_copy(update={"shape": shape, "last": 3.0})
        return made.model_copy(update={"schedule": Schedule(name="rise", pieces=(first, rise, third))})

    assert compare(of("linear"), of("linear")) is None
    found = compare(of("linear"), of("cosine"))
    assert found is not None
    assert START + ends[0] < found.first_clock < START + ends[1]


@pytest.mark.parametrize(("old", "largest"), [(2.0, 0.5), (0.0, math.inf)])
def test_a_change_is_relative_to_the_old_rate(old: float, largest: float) -> None:
    found = compare(stage(100, (100, old)), stage(100, (100, 3.0)))
    assert found is not None
    assert (found.largest, found.everywhere, found.first_clock) == (largest, True, START + 1)
