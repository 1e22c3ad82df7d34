"""The realised share of every prefix is within nesting depth + 1 samples of its target; nothing is skipped."""

import itertools
from collections.abc import Callable
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from stages.contract.mixture import Mixture
from stages.spec.resolved_phases import Phase, ShareRamp
from tests.unit.contract._make import phase, source

weights = st.lists(st.integers(1, 1000), min_size=1, max_size=7)
shares = st.fractions(0, 1, max_denominator=1000)
SAMPLES = 200
Mixed = tuple[Phase, Callable[[int], list[Fraction]]]


def pair(value: Fraction) -> tuple[int, int]:
    return value.numerator, value.denominator


@st.composite
def mixed(draw: st.DrawFn) -> Mixed:
    """A phase with both groups and a share ramp, and its target: samples of each source among the first n."""
    text, multimodal = draw(weights), draw(weights)
    first, last, over = draw(shares), draw(shares), draw(st.integers(0, 300))
    ramp = ShareRamp(first=pair(first), last=pair(last), over=over)
    sources = tuple(source(weight) for weight in text) + tuple(source(weight, "multimodal") for weight in multimodal)

    def target(n: int) -> list[Fraction]:
        share = Fraction(0)
        for i in range(n):  # the share of sample i is the ramp's mean over [i, i + 1)
            share += first + (last - first) * Fraction(2 * i + 1, 2 * over) if i < over else last
        return [(n - share) * Fraction(weight, sum(text)) for weight in text] + [
            share * Fraction(weight, sum(multimodal)) for weight in multimodal
        ]

    return phase(sources=sources, share=ramp), target


@given(mixed(), st.integers(0, SAMPLES))
def test_every_prefix_is_near_its_target(drawn: Mixed, n: int) -> None:
    made, target = drawn
    mixture = Mixture(made)
    for got, wanted in zip(mixture.counts(n), target(n), strict=True):
        assert abs(got - wanted) < mixture.depth + 1


@given(mixed())
def test_ordinals_count_up_without_gaps(drawn: Mixed) -> None:
    mixture = Mixture(drawn[0])
    seen = [0] * len(drawn[0].sources)
    for i in range(SAMPLES):
        chosen, ordinal = mixture.pick(i)
        assert ordinal == seen[chosen]
        seen[chosen] += 1
    assert tuple(seen) == mixture.counts(SAMPLES)


@given(weights, st.integers(0, SAMPLES))
def test_one_group_needs_no_share(drawn: list[int], n: int) -> None:
    mixture = Mixture(phase(sources=tuple(source(weight) for weight in drawn)))
    assert sum(mixture.counts(n)) == n
    for got, weight in zip(mixture.counts(n), drawn, strict=True):
        assert abs(got - Fraction(n * weight, sum(drawn))) < mixture.depth + 1


@given(shares, shares, st.integers(1, 300))
def test_a_rising_ramp_never_falls_nor_passes_its_cap(first: Fraction, last: Fraction, over: int) -> None:
    first, last = sorted((first, last))
    made = phase(
        sources=(source(1), source(1, "multimodal")), share=ShareRamp(first=pair(first), last=pair(last), over=over)
    )
    mixture = Mixture(made)
    counts = [mixture.multimodal(n) for n in range(0, 2 * over + 1, max(1, over // 10))]
    steps = [right - left for left, right in itertools.pairwise(counts)]
    assert all(later >= sooner - 1 for sooner, later in itertools.pairwise(steps))
    assert counts[-1] <= last * 2 * over
