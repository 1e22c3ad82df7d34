"""Scaling never reorders frequencies, and the exported factors give back the frequencies they came from."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from stages.contract import rope
from stages.spec.resolved import Llama3Scaling, Rope

dims = st.integers(1, 64).map(lambda half: 2 * half)
scalings = st.none() | st.builds(
    Llama3Scaling,
    factor=st.floats(1.0, 64.0),
    low=st.floats(0.25, 2.0),
    high=st.floats(2.5, 8.0),
    original=st.integers(16, 131_072),
)
ropes = st.builds(Rope, base=st.floats(10.0, 5e7), llama3=scalings, interpolation=st.floats(1.0, 64.0))


@given(ropes, dims)
def test_frequencies_fall_from_pair_to_pair(drawn, dim):
    frequencies = rope.inv_freq(drawn, dim)
    assert all(fast > slow > 0 for fast, slow in itertools.pairwise(frequencies))


@given(ropes, dims)
def test_scaling_only_slows_down_and_at_most_by_its_factors(drawn, dim):
    factors = rope.longrope_factors(drawn, dim)
    most = drawn.interpolation * (drawn.llama3.factor if drawn.llama3 else 1.0)
    assert all(drawn.interpolation * (1 - 1e-12) <= factor <= most * (1 + 1e-12) for factor in factors)


@given(ropes, dims)
def test_longrope_factors_round_trip(drawn, dim):
    for pair, (factor, frequency) in enumerate(
        zip(rope.longrope_factors(drawn, dim), rope.inv_freq(drawn, dim), strict=True)
    ):
        assert math.isclose(1.0 / (factor * drawn.base ** (2 * pair / dim)), frequency, rel_tol=1e-12)


@given(ropes.filter(lambda drawn: drawn.llama3 is not None), dims)
def test_every_pair_falls_in_one_band(drawn, dim):
    assert sum(rope.bands(drawn.llama3, drawn.base, dim)) == dim // 2
