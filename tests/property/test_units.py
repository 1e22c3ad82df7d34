"""Quantities: exact, closed under writing and reading, and nothing but BadQuantity for anything else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.spec import quantities, units

READERS = [
    units.number, units.ratio, units.count, units.tokens, units.offset, units.sequences,
    units.steps, units.share, units.megabytes, units.minutes, units.length, units.rounding,
]  # fmt: skip
Read = Callable[[Any], Any]


@given(st.integers(1, 10**18))
def test_token_counts_survive_writing_and_variant(value: int) -> None:
    assert units.tokens(units.format_tokens(value)) == value


@given(st.integers(0, 10**6), st.integers(0, 9), st.sampled_from("KMBT"))
def test_decimal_prefixes_are_exact(whole: int, tenth: int, prefix: str) -> None:
    text = f"{whole}.{tenth}{prefix}"
    assert units.offset(text) == (10 * whole + tenth) * quantities.DECIMAL[prefix] // 10


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_ratios_are_exact(top: int, bottom: int) -> None:
    assert units.ratio(f"{top}/{bottom}") == Fraction(top, bottom)


@given(st.integers(0, 100_000))
def test_shares_are_exact(thousandths: int) -> None:
    assert units.share(f"{thousandths // 1000}.{thousandths % 1000:03d}%") == Fraction(thousandths, 100_000)


@given(st.floats(min_value=1e-290, max_value=1e290))
def test_every_float_is_read_as_written(value: float) -> None:
    assert float(units.number(repr(value))) == value


@given(st.one_of(st.text(max_size=80), st.none(), st.booleans(), st.lists(st.text(max_size=3), max_size=2)))
@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_anything_else_is_a_bad_quantity(read: Read, value: Any) -> None:
    with contextlib.suppress(quantities.BadQuantity):
        read(value)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (units.tokens, "4096 seq"), (units.tokens, "40%"), (units.tokens, "-1"), (units.tokens, "0"),
        (units.tokens, "0.5"), (units.tokens, "1e999999999"), (units.tokens, "1__0"), (units.sequences, "4096"),
        (units.sequences, "1.5 seq"), (units.steps, "8 seq"), (units.share, "0.4"), (units.share, "101%"),
        (units.share, "4K%"), (units.megabytes, "4"), (units.minutes, "4 GB"), (units.number, "8 seq"),
        (units.number, "nan"), (units.number, "inf"), (units.ratio, "1/0"), (units.ratio, "0"),
        (units.count, "1.5"), (units.number, "1" * 65),
    ],
)  # fmt: skip
def test_the_wrong_unit_is_refused(read: Read, text: str) -> None:
    with pytest.raises(quantities.BadQuantity):
        read(text)


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (units.tokens, "0.6T", 600_000_000_000), (units.tokens, "512M", 512_000_000), (units.tokens, "8Ki", 8192),
        (units.tokens, "512 tokens", 512), (units.tokens, "4M patches", 4_000_000), (units.sequences, "4096 seq", 4096),
        (units.steps, "100 steps", 100), (units.share, "40%", Fraction(2, 5)),
        (units.number, "2e-5", Fraction(1, 50_000)),
        (units.number, "50_000", Fraction(50_000)), (units.megabytes, "1.5 GB", 1500), (units.megabytes, "450 MB", 450),
        (units.minutes, "2 h", 120),
        (units.length, "2000 steps", (2000, "steps")), (units.length, "33B", (33_000_000_000, "tokens")),
        (units.rounding, "7.7T", 50_000_000_000), (units.rounding, "7.72T", 5_000_000_000),
    ],
)  # fmt: skip
def test_what_specs_write(read: Read, text: str, value: object) -> None:
    assert read(text) == value
