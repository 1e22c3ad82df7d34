"""Which steps are skipped: by the norms before them, as computed by hand."""

import pytest

from stages.contract.spikes import Skips, half, spike
from stages.spec.resolved_training import Skip

RULE = Skip(window=4, sigmas=3.0)


@pytest.mark.parametrize(
    ("norms", "norm", "skipped"),
    [
        ((), 1e9, False),
        ((1.0,), 1e9, False),  # half of the window, and of one norm no deviation
        ((1.0, 2.0), 3.7, True),  # mean 1.5, deviation of a sample sqrt(0.5): 1.5 + 3 x 0.7071 = 3.6213
        ((1.0, 2.0), 3.6, False),
        ((1.0, 2.0), -9.0, False),
    ],
)
def test_a_norm_stands_out_above_the_mean_of_those_before_it(
    norms: tuple[float, ...], norm: float, skipped: bool
) -> None:
    assert spike(norms, norm, RULE) is skipped


@pytest.mark.parametrize(("window", "needed"), [(6, 3), (7, 3), (4, 2)])
def test_none_is_skipped_before_half_of_the_window_is_there(window: int, needed: int) -> None:
    rule = Skip(window=window, sigmas=2.0)
    assert half(rule) == needed
    assert [spike((1.0,) * count, 100.0, rule) for count in (needed - 1, needed)] == [False, True]


def test_the_window_has_the_last_norms_those_of_skipped_steps_too() -> None:
    found = Skips()
    for number in range(6):
        found = found.after(float(number), number % 2 == 0, RULE)
    assert found == Skips((2.0, 3.0, 4.0, 5.0), 3)
