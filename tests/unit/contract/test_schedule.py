import math
from fractions import Fraction

import pytest

from stages.contract import curve, schedule
from stages.spec.resolved_training import Schedule, Shape
from tests.unit.contract._make import piece

WARM_COSINE_HOLD = Schedule(
    name="text",
    pieces=(
        piece(0, 100, "linear", 0.0, 4.2e-4),
        piece(100, 1100, "cosine", 4.2e-4, 4.2e-5),
        piece(1100, 2000, "constant", 4.2e-5, 4.2e-5),
    ),
)


def test_borders_are_exact() -> None:
    assert schedule.lr(WARM_COSINE_HOLD, 0) == 0.0
    assert schedule.lr(WARM_COSINE_HOLD, 100) == 4.2e-4
    assert schedule.lr(WARM_COSINE_HOLD, 1100) == 4.2e-5
    assert schedule.lr(WARM_COSINE_HOLD, 2000) == 4.2e-5


def test_halfway_down_a_cosine_is_the_mean() -> None:
    assert schedule.lr(WARM_COSINE_HOLD, 600) == pytest.approx((4.2e-4 + 4.2e-5) / 2, rel=1e-15)


def test_a_border_belongs_to_the_piece_that_ends_there() -> None:
    jump = Schedule(name="j", pieces=(piece(0, 10, "constant", 1e-3, 1e-3), piece(10, 20, "constant", 1e-4, 1e-4)))
    assert schedule.lr(jump, 10) == 1e-3
    assert schedule.lr(jump, 11) == 1e-4
    assert schedule.lr_before(jump, 10) == 1e-4


def test_a_continuous_border_reads_the_same_from_both_sides() -> None:
    for border in (100, 1100):
        assert schedule.lr(WARM_COSINE_HOLD, border) == schedule.lr_before(WARM_COSINE_HOLD, border)


def test_moonlight_figures() -> None:
    # arXiv 2502.16982, section 3.3: 2,000 warm-up steps of 2,048 x 8,192 tokens, cosine to a tenth at 5.2T.
    warm, end = 2000 * 2048 * 8192, 5_200_000_000_000
    text = Schedule(
        name="text", pieces=(piece(0, warm, "linear", 0.0, 4.2e-4), piece(warm, end, "cosine", 4.2e-4, 4.2e-5))
    )
    clock = 3_000_000_000_000
    expected = 4.2e-5 + (4.2e-4 - 4.2e-5) * (1 + math.cos(math.pi * (clock - warm) / (end - warm))) / 2
    assert schedule.lr(text, clock) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("clock", [-1, 2001])
def test_outside_the_schedule_is_an_error(clock: int) -> None:
    with pytest.raises(ValueError, match="outside schedule 'text'"):
        schedule.lr(WARM_COSINE_HOLD, clock)
    with pytest.raises(ValueError, match="no value"):
        curve.lr_curve(WARM_COSINE_HOLD, [5, clock])


def test_nothing_begins_at_the_end() -> None:
    with pytest.raises(ValueError, match="begins or continues"):
        schedule.lr_before(WARM_COSINE_HOLD, 2000)


@pytest.mark.parametrize(("p", "value"), [(0, 1.0), (Fraction(1, 2), 0.0), (1, -1.0)])
def test_cosine_is_exact_where_it_is_rational(p: Fraction | int, value: float) -> None:
    assert schedule.cos_pi(Fraction(p)) == value


STAIRS = Schedule(
    name="stairs",
    pieces=(
        piece(0, 10, "linear", 0.0, 1e-3),
        piece(10, 20, "constant", 1e-3, 1e-3),
        piece(20, 30, "linear", 3e-3, 1e-3),
        piece(30, 40, "linear", 1e-3, 3e-3),
        piece(40, 50, "linear", 2e-3, 1e-3),
    ),
)


@pytest.mark.parametrize(
    ("start", "end", "highest"),
    [
        (0, 40, (3e-3, 20)),  # a jump: the limit from the right, and the first of the two clocks that have it
        (0, 20, (1e-3, 10)),  # what begins at the end is not in the stretch
        (5, 15, (1e-3, 10)),
        (20, 30, (3e-3, 20)),
        (25, 40, (3e-3, 40)),
        (22, 38, (schedule.lr(STAIRS, 22), 22)),
        (12, 18, (1e-3, 12)),
        (40, 50, (2e-3, 40)),  # what the piece before ends with is not in the stretch
    ],
)
def test_the_peak_of_a_stretch_is_its_highest_rate_and_the_first_clock_that_has_it(
    start: int, end: int, highest: tuple[float, int]
) -> None:
    assert schedule.peak(STAIRS, start, end) == highest


@pytest.mark.parametrize(
    ("p", "value"),
    [
        (Fraction(1, 8), "0x1.d906bcf328d46p-1"),
        (Fraction(21, 100), "0x1.948f32a1d91f2p-1"),
        (Fraction(22, 100), "0x1.8a80b635b6beap-1"),
        (Fraction(1, 4), "0x1.6a09e667f3bcdp-1"),
        (Fraction(26, 100), "0x1.5e7cf55112013p-1"),
        (Fraction(3, 4), "-0x1.6a09e667f3bcdp-1"),
    ],
)
def test_cosine_is_the_same_double_on_every_machine(p: Fraction, value: str) -> None:
    """Written down to the last bit: a rate that changed by one would change every run."""
    assert schedule.cos_pi(p) == pytest.approx(math.cos(math.pi * p), abs=2**-52)
    assert schedule.cos_pi(p).hex() == value


def test_an_inverse_square_root_is_that_of_the_steps() -> None:
    """Vaswani et al. 2017, eq. 3, after a warm-up of 4,000 steps: peak * sqrt(4000 / step)."""
    falls = Schedule(name="noam", pieces=(piece(4_000, 100_000, "inverse_sqrt", 7e-4, 7e-4 * math.sqrt(4_000 / 1e5)),))
    for step in (4_000, 4_001, 16_000, 64_000):
        assert schedule.lr(falls, step) == pytest.approx(7e-4 * math.sqrt(4_000 / step), rel=1e-14)


def test_a_power_of_the_tokens_has_one_slope_in_a_plot_of_logarithms() -> None:
    """The power scheduler (arXiv 2408.13359): proportional to tokens^-0.51."""
    pieces = (piece(10**9, 10**12, "power", 4e-4, 4e-4 * 1000**-0.51, exponent=0.51),)
    assert schedule.lr(Schedule(name="power", pieces=pieces), 10**10) == pytest.approx(4e-4 * 10**-0.51, rel=1e-14)


def test_half_an_exponential_is_the_geometric_mean_and_a_quarter_of_1_sqrt_is_halfway() -> None:
    decay = Schedule(name="e", pieces=(piece(0, 100, "exponential", 4e-3, 1e-5),))
    cooldown = Schedule(name="c", pieces=(piece(0, 100, "1-sqrt", 4e-3, 1e-5),))
    assert schedule.lr(decay, 50) == pytest.approx(2e-4, rel=1e-15)
    assert schedule.lr(cooldown, 25) == pytest.approx((4e-3 + 1e-5) / 2, rel=1e-15)


@pytest.mark.parametrize(
    ("shape", "exponent", "value"),
    [
        ("1-sqrt", None, "0x1.12623dec80171p-13"),
        ("inverse_sqrt", None, "0x1.969ac40c0ec30p-17"),
        ("power", 0.51, "0x1.9b0e35f9f171ap-17"),
        ("exponential", None, "0x1.678fcb5a9f091p-14"),
    ],
)
def test_every_shape_is_the_same_double_on_every_machine(shape: Shape, exponent: float | None, value: str) -> None:
    drawn = Schedule(name="s", pieces=(piece(0, 300, shape, 3e-4, 7e-6, exponent=exponent),))
    assert schedule.lr(drawn, 100).hex() == value


SHAPES: tuple[Shape, ...] = ("constant", "linear", "cosine", "1-sqrt", "inverse_sqrt", "power", "exponential")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_curve_is_the_rate_at_each_of_its_clocks(shape: Shape) -> None:
    last = 1e-3 if shape == "constant" else 2e-4
    one = piece(10, 50, shape, 1e-3, last, p0=Fraction(1, 4), exponent=0.7 if shape == "power" else None)
    made = Schedule(name="x", pieces=(piece(0, 10, "linear", 0.0, 1e-3), one))
    clocks = range(51)
    assert curve.lr_curve(made, clocks).tolist() == pytest.approx([schedule.lr(made, at) for at in clocks], rel=1e-12)
