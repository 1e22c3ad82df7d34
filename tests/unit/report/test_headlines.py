"""Which evaluations are shown first, and which way each is better."""

from __future__ import annotations

import pytest

from stages.report.hand_overs import HandOver
from stages.report.headlines import MEASURES, NEEDLE, VALIDATION, arrow, headline, loops


def test_shares_are_better_higher_and_losses_lower() -> None:
    for measure in (VALIDATION, *MEASURES):
        assert (measure.form, measure.better) in (("share", "higher"), ("loss", "lower")), measure.name


def test_loops_are_told_from_the_fewest_to_the_most_as_numbers() -> None:
    found = {"loops.16": 3.0, "loops.2": 3.5, "loops.1": 4.0}
    assert loops(found) == "loss at 1 loop 4.000, at 16 loops 3.000"
    assert loops({"loops.4": 3.0}) == ""


def test_before_comes_first_and_what_was_not_measured_is_a_dash() -> None:
    assert arrow(NEEDLE, {"needle.accuracy": 0.25}, {"needle.accuracy": 0.5}) == "25.0% → 50.0%"
    assert arrow(NEEDLE, {}, {"needle.accuracy": 0.5}) == "- → 50.0%"
    assert headline({"needle.accuracy": 0.5, "answers.loss": 1.0}) != NEEDLE


@pytest.mark.parametrize(("right", "jumps"), [(1e-7, False), (1e-7 * (1 + 1e-7), False), (2e-7, True), (0.0, True)])
def test_a_rate_jumps_by_what_it_is_however_low(right: float, jumps: bool) -> None:
    assert HandOver(0.0, 1e-7, right).jumps == jumps
