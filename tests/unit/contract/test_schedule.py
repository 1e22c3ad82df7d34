import math
from fractions import Fraction

import pytest

from stages.contract import schedule
from stages.spec.resolved_training import Schedule
from tests.unit.contract._make import piece

WARM_COSINE_HOLD = Schedule(
    name="text",
    pieces=(
        piece(0, 100, "linear", 0.0, 4.2e-4),
        piece(100, 1100, "cosine", 4.2e-4, 4.2e-5),
        piece(1100, 2000, "constant", 4.2e-5, 4.2e-5),
    ),
)


def test_borders_are_exact():
    assert schedule.lr(WARM_COSINE_HOLD, 0) == 0.0
    assert schedule.lr(WARM_COSINE_HOLD, 100) == 4.2e-4
    assert schedule.lr(WARM_COSINE_HOLD, 1100) == 4.2e-5
    assert schedule.lr(WARM_COSINE_HOLD, 2000) == 4.2e-5


def test_halfway_down_a_cosine_is_the_mean():
    assert schedule.lr(WARM_COSINE_HOLD, 600) == pytest.approx((4.2e-4 + 4.2e-5) / 2, rel=1e-15)


def test_a_border_belongs_to_the_piece_that_ends_there():
    jump = Schedule(name="j", pieces=(piece(0, 10, "constant", 1e-3, 1e-3), piece(10, 20, "constant", 1e-4, 1e-4)))
    assert schedule.lr(jump, 10) == 1e-3
    assert schedule.lr(jump, 11) == 1e-4
    assert schedule.lr_before(jump, 10) == 1e-4


def test_a_continuous_border_reads_the_same_from_both_sides():
    for border in (100, 1100):
        assert schedule.lr(WARM_COSINE_HOLD, border) == schedule.lr_before(WARM_COSINE_HOLD, border)


def test_moonlight_figures():
    # arXiv 2502.16982, section 3.3: 2,000 warm-up steps of 2,048 x 8,192 tokens, cosine to a tenth at 5.2T.
    warm, end = 2000 * 2048 * 8192, 5_200_000_000_000
    text = Schedule(
        name="text", pieces=(piece(0, warm, "linear", 0.0, 4.2e-4), piece(warm, end, "cosine", 4.2e-4, 4.2e-5))
    )
    clock = 3_000_000_000_000
    expected = 4.2e-5 + (4.2e-4 - 4.2e-5) * (1 + math.cos(math.pi * (clock - warm) / (end - warm))) / 2
    assert schedule.lr(text, clock) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("clock", [-1, 2001])
def test_outside_the_schedule_is_an_error(clock):
    with pytest.raises(ValueError, match="outside schedule 'text'"):
        schedule.lr(WARM_COSINE_HOLD, clock)
    with pytest.raises(ValueError, match="no value"):
        schedule.lr_curve(WARM_COSINE_HOLD, [5, clock])


def test_nothing_begins_at_the_end():
    with pytest.raises(ValueError, match="begins or continues"):
        schedule.lr_before(WARM_COSINE_HOLD, 2000)


@pytest.mark.parametrize(("p", "value"), [(0, 1.0), (Fraction(1, 2), 0.0), (1, -1.0)])
def test_cosine_is_exact_where_it_is_rational(p, value):
    assert schedule.cos_pi(Fraction(p)) == value
