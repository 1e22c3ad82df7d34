"""Figures as plans and differences print them."""

from __future__ import annotations

import pytest

from stages.plan import figures


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0155, "0.0155"), (999.0, "999"), (999.4, "999"), (999.6, "1k"), (1234.0, "1.23k"), (999_400.0, "999k"),
        (999_600.0, "1M"), (4.54e21, "4.54Z"), (1.2e27, "1200Y"), (1.5e28, "15000Y"),
    ],
)  # fmt: skip
def test_three_digits_and_a_prefix(value: float, text: str) -> None:
    assert figures.short(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (999, "999"), (8192, "8Ki"), (1_024_000, "1.024M"), (7_720_000_000_000, "7.72T"),
        (600_000_000_000, "0.6T"), (640_000_000_000, "640B"), (1_500, "1.5K"), (900, "0.9K"),
    ],
)  # fmt: skip
def test_a_budget_is_written_as_specs_write_it(value: int, text: str) -> None:
    assert figures.tokens(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(8_030_261_248, "8.030B"), (416_900_000, "416.9M"), (86_300, "86.30K"), (12, "12")]
)
def test_parameters_as_they_are_spoken_of(value: int, text: str) -> None:
    assert figures.count(value) == text


def test_a_change_is_relative_to_what_was() -> None:
    assert [figures.signed_percent(4, new) for new in (5, 3, 4)] == ["+25%", "-25%", "+0%"]
    assert figures.signed_percent(0, 3) == "new"


@pytest.mark.parametrize(
    ("value", "text"),
    [(4.2e-4, "4.2e-4"), (1e-3, "1e-3"), (0.0, "0"), (0.25, "2.5e-1"), (3.05e-4, "3.05e-4"),
     (1.234e-5, "1.234e-5"), (1e-4 / 3, "3.3e-5"), (1.23456e-5, "1.2e-5")],
)  # fmt: skip
def test_a_rate_has_two_digits_or_all_of_four(value: float, text: str) -> None:
    assert figures.rate(value) == text
