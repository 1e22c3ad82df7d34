"""Numbers as people read them."""

import pytest

from stages.report.number_format import count, length, loss, rate, seconds


@pytest.mark.parametrize(
    ("number", "text"),
    [(5_200_000_000_000, "5.2T"), (20 * 10**9, "20B"), (7_720_000_000_000, "7.72T"), (999_600, "1M"), (1000, "1K"),
     (12, "12"), (0, "0")],
)  # fmt: skip
def test_counts_are_decimal(number: int, text: str) -> None:
    assert count(number) == text


@pytest.mark.parametrize(
    ("positions", "text"), [(4096, "4K"), (131072, "128K"), (1048576, "1M"), (96, "96"), (1500, "1,500")]
)
def test_lengths_are_binary(positions: int, text: str) -> None:
    assert length(positions) == text


@pytest.mark.parametrize(("value", "text"), [(3e-4, "3e-4"), (4.2e-5, "4.2e-5"), (0.0, "0"), (1.0, "1e0")])
def test_learning_rates(value: float, text: str) -> None:
    assert rate(value) == text


@pytest.mark.parametrize(
    ("duration", "text"), [(4.21, "4.2 s"), (42, "42 s"), (190, "3 min 10 s"), (7300, "2 h 1 min")]
)
def test_durations(duration: float, text: str) -> None:
    assert seconds(duration) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(4.7214, "4.721"), (-0.1284, "-0.128"), (0.0005, "0.001"), (-2.06e-5, "-2.1e-5"), (0.0, "0.000"), (-0.0, "0.000"),
     (float("nan"), "nan")],
)  # fmt: skip
def test_losses_that_three_decimals_would_show_as_none_have_two_digits(value: float, text: str) -> None:
    assert loss(value) == text
