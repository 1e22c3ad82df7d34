"""A schedule is a pure function of consumed tokens: cutting it, splitting it or reading it in bulk changes nothing."""

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.contract import curve, schedule
from stages.spec.clock_map import cut
from stages.spec.clocks import resolved_piece
from stages.spec.resolved_training import Piece, Schedule, Shape
from stages.spec.schedule_layout import Span, lay
from stages.spec.schema.pipeline import RawPiece
from stages.spec.shapes import FALLING, POSITIVE
from tests.unit.contract._make import piece

TINY = 1e-12  # of rates that are not 0: what is smaller no step can tell from it
rates = st.floats(min_value=0.0, max_value=1e-2).map(lambda rate: rate if rate > TINY else 0.0)
lengths = st.integers(min_value=1, max_value=10**13)
SHAPES: tuple[Shape, ...] = ("linear", "cosine", "1-sqrt", "inverse_sqrt", "power", "exponential")
shapes = st.sampled_from(SHAPES)
exponents = st.floats(min_value=0.1, max_value=10)


def joined(
    draw: Callable[..., Any],
    at: int,
    end: int,
    shape: Shape,
    first: float,
    p0: Fraction = Fraction(0),
    p1: Fraction = Fraction(1),
) -> Piece:
    """A piece of any shape between two rates that it can lead to."""
    if shape == "constant":
        return piece(at, end, shape, first, first, p0, p1)
    last = draw(rates)
    if shape in POSITIVE:
        first, last = max(first, TINY), max(last, TINY)
    if shape in FALLING:
        last = min(first, last)
    return piece(at, end, shape, first, last, p0, p1, draw(exponents) if shape == "power" else None)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Up to five pieces that touch and join: each begins at the learning rate where the one before ended."""
    at, rate, pieces = 0, draw(rates), []
    for _ in range(draw(st.integers(1, 5))):
        able = [shape for shape in SHAPES if rate or shape not in POSITIVE]
        pieces.append(joined(draw, at, at + draw(lengths), draw(st.sampled_from(able)), rate))
        at, rate = pieces[-1].end, pieces[-1].last
    return Schedule(name="drawn", pieces=tuple(pieces))


@given(schedules(), st.data())
def test_stays_between_the_ends_of_its_piece(drawn: Schedule, data: st.DataObject) -> None:
    chosen = data.draw(st.sampled_from(drawn.pieces))
    clock = data.draw(st.integers(chosen.start, chosen.end))
    low, high = sorted((chosen.first, chosen.last))
    assert low <= schedule.lr(drawn, clock) <= high


@given(schedules())
def test_joined_pieces_are_continuous(drawn: Schedule) -> None:
    for left, right in zip(drawn.pieces, drawn.pieces[1:], strict=False):
        assert schedule.lr(drawn, left.end) == left.last == schedule.lr_before(drawn, right.start)


@given(shapes, rates, lengths, st.data())
def test_cutting_a_piece_at_a_stage_border_does_not_move_the_curve(
    shape: Shape, rate: float, length: int, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, length))
    clock = data.draw(st.integers(0, length))
    one = joined(data.draw, 0, length, shape, rate)
    first, last, exponent = one.first, one.last, one.exponent
    whole = Schedule(name="whole", pieces=(one,))
    at = Fraction(cut, length)
    halves = Schedule(
        name="halves",
        pieces=tuple(
            part
            for part in (
                piece(0, cut, shape, first, last, Fraction(0), at, exponent),
                piece(cut, length, shape, first, last, at, Fraction(1), exponent),
            )
            if part.start < part.end
        ),
    )
    assert schedule.lr(whole, clock) == schedule.lr(halves, clock)


@st.composite
def stretches(draw: st.DrawFn) -> Schedule:
    """Up to five pieces of any shape, each the part of a longer one that a stage border has left of it."""
    at, pieces = 0, []
    for shape in draw(st.lists(st.sampled_from(("constant", *SHAPES)), min_size=1, max_size=5)):
        end = at + draw(lengths)
        p0, p1 = sorted(draw(st.lists(st.fractions(0, 1), min_size=2, max_size=2, unique=True)))
        pieces.append(joined(draw, at, end, shape, draw(rates), p0, p1))
        at = end
    return Schedule(name="drawn", pieces=tuple(pieces))


@given(stretches(), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_in_bulk_equals_one_by_one(drawn: Schedule, fractions: list[float]) -> None:
    clocks = [int(fraction * drawn.pieces[-1].end) for fraction in fractions]
    clocks += [one.end for one in drawn.pieces]
    single = [schedule.lr(drawn, clock) for clock in clocks]
    np.testing.assert_allclose(curve.lr_curve(drawn, clocks), single, rtol=1e-9, atol=1e-15)


@given(st.fractions(0, 1))
def test_cosine_agrees_with_libm(p: Fraction) -> None:
    assert math.isclose(schedule.cos_pi(p), math.cos(math.pi * p), rel_tol=0, abs_tol=4e-16)


@given(schedules(), st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_reading_it_in_any_order_or_twice_gives_the_same(drawn: Schedule, fractions: list[float]) -> None:
    clocks = [int(fraction * drawn.pieces[-1].end) for fraction in fractions]
    forth = {clock: schedule.lr(drawn, clock) for clock in clocks}
    back = {clock: schedule.lr(drawn, clock) for clock in reversed(clocks)}
    assert forth == back == {clock: schedule.lr(drawn.model_copy(), clock) for clock in clocks}


@given(schedules(), st.data())
def test_what_comes_later_does_not_move_what_was(drawn: Schedule, data: st.DataObject) -> None:
    """The horizon: a stage sees a schedule up to its end, and no value before depends on what is cut off there."""
    kept = data.draw(st.integers(1, len(drawn.pieces)))
    short = drawn.model_copy(update={"pieces": drawn.pieces[:kept]})
    clock = data.draw(st.integers(0, short.pieces[-1].end))
    assert schedule.lr(short, clock) == schedule.lr(drawn, clock)


@given(schedules(), st.integers(1, 10**6))
def test_outside_its_horizon_it_has_no_value(drawn: Schedule, beyond: int) -> None:
    with pytest.raises(ValueError, match="outside schedule"):
        schedule.lr(drawn, drawn.pieces[-1].end + beyond)


@given(schedules(), st.lists(st.fractions(0, 1), max_size=4), st.floats(0, 1))
def test_a_lineage_cut_into_stages_anywhere_reads_what_one_stage_would(
    drawn: Schedule, cuts: list[Fraction], place: float
) -> None:
    """As it is laid: every stage of a lineage lays the schedule again, along all phases up to its own end."""
    end = drawn.pieces[-1].end
    borders = sorted({*(int(cut * end) for cut in cuts), 0, end})
    written = [
        RawPiece.model_construct(
            shape=one.shape, from_=Fraction(one.first), to=None if one.shape == "constant" else Fraction(one.last),
            until=one.end, exponent=None if one.exponent is None else Fraction(one.exponent), jump="drawn",
            _fields_set={"from_"},
        )
        for one in drawn.pieces
    ]  # fmt: skip
    phase: Any = None  # which is only handed on
    spans = [Span(phase, (a, b), (a, b)) for a, b in pairwise(borders)]
    scale: Any = SimpleNamespace(least_piece=lambda phase: 0)
    clock = max(1, int(place * end))
    for number in range(1, len(spans) + 1):
        laid = cut(lay(written, spans[:number], None, "weight_decay"), spans[:number], scale)
        read = Schedule(name="read", pieces=tuple(resolved_piece(one, float) for one in laid))
        if spans[number - 1].here[1] >= clock:
            assert schedule.lr(read, clock) == schedule.lr(drawn, clock)
