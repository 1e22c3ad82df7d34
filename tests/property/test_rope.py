"""Scaling never reorders frequencies, and the exported factors give back the frequencies they came from."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.contract import rope
from stages.models.ops.functional import rotate
from stages.models.rotary import Rotary
from stages.spec.resolved_models import Llama3Scaling, Rope

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
def test_frequencies_fall_from_pair_to_pair(drawn: Rope, dim: int) -> None:
    frequencies = rope.inv_freq(drawn, dim)
    assert all(fast > slow > 0 for fast, slow in itertools.pairwise(frequencies))


@given(ropes, dims)
def test_scaling_only_slows_down_and_at_most_by_its_factors(drawn: Rope, dim: int) -> None:
    factors = rope.longrope_factors(drawn, dim)
    most = drawn.interpolation * (drawn.llama3.factor if drawn.llama3 else 1.0)
    assert all(drawn.interpolation * (1 - 1e-12) <= factor <= most * (1 + 1e-12) for factor in factors)


@given(ropes, dims)
def test_longrope_factors_round_trip(drawn: Rope, dim: int) -> None:
    for pair, (factor, frequency) in enumerate(
        zip(rope.longrope_factors(drawn, dim), rope.inv_freq(drawn, dim), strict=True)
    ):
        assert math.isclose(1.0 / (factor * drawn.base ** (2 * pair / dim)), frequency, rel_tol=1e-12)


@given(ropes.filter(lambda drawn: drawn.llama3 is not None), dims)
def test_every_pair_falls_in_one_band(drawn: Rope, dim: int) -> None:
    assert drawn.llama3 is not None
    assert sum(rope.bands(drawn.llama3, drawn.base, dim)) == dim // 2


@given(ropes, dims)
def test_frequencies_are_the_formula_where_nothing_scales(drawn: Rope, dim: int) -> None:
    plain = drawn.model_copy(update={"llama3": None})
    wanted = [drawn.base ** (-2 * pair / dim) / drawn.interpolation for pair in range(dim // 2)]
    assert rope.inv_freq(plain, dim) == pytest.approx(wanted, rel=1e-14)


@given(ropes, st.floats(10.0, 5e7), dims)
def test_a_changed_base_is_the_same_change_for_every_scaling_free_pair(drawn: Rope, base: float, dim: int) -> None:
    """Pair i's wavelength grows by (new / old)^(2i/d): the slowest by the whole ratio, the fastest not at all."""
    old = drawn.model_copy(update={"llama3": None})
    before, after = rope.wavelengths(old, dim), rope.wavelengths(old.model_copy(update={"base": base}), dim)
    for pair, (was, now) in enumerate(zip(before, after, strict=True)):
        assert now / was == pytest.approx((base / drawn.base) ** (2 * pair / dim), rel=1e-9)


@given(ropes, st.floats(10.0, 5e7), st.integers(0, 400), st.integers(0, 400), st.integers(0, 2000))
def test_scores_depend_on_the_distance_alone_also_after_a_change_of_base(
    drawn: Rope, base: float, m: int, n: int, shift: int
) -> None:
    """<R(m) q, R(n) k> = <R(m + s) q, R(n + s) k> (RoFormer, arXiv 2104.09864, eq. 16), on the models' own rotation."""
    generator = torch.Generator().manual_seed(m)
    q, k = torch.randn(2, 1, 1, 1, 16, generator=generator)  # [B, T, heads, dim] each
    for one in (drawn, drawn.model_copy(update={"base": base})):
        scores = [(rotated(one, q, a) * rotated(one, k, b)).sum().item() for a, b in ((m, n), (m + shift, n + shift))]
        size = q.norm().item() * k.norm().item()
        assert scores[0] == pytest.approx(scores[1], abs=2e-3 * size)  # angles are fp32: 2400 rad is known to 1e-4


def rotated(one: Rope, vector: torch.Tensor, position: int) -> torch.Tensor:
    return rotate(vector, *Rotary(one, vector.shape[-1]).tables(torch.tensor([[position]])), interleaved=False)
