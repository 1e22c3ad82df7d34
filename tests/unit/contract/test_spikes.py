"""Which steps are skipped: by the norms before them, as computed by hand."""

import statistics

import pytest

from stages.contract.spikes import Skips, half, spike
from stages.spec.resolved_training import Skip

RULE = Skip(window=6, sigmas=2.0)
NORMS = (1.0, 1.25, 0.75, 1.0)


def test_a_step_is_skipped_above_so_many_deviations_of_the_norms_before_it() -> None:
    limit = statistics.mean(NORMS) + 2 * statistics.stdev(NORMS)
    assert not spike(NORMS, limit - 1e-9, RULE)
    assert spike(NORMS, limit + 1e-9, RULE)


@pytest.mark.parametrize(("window", "needed"), [(6, 3), (7, 3), (4, 2)])
def test_none_is_skipped_before_half_of_the_window_is_there(window: int, needed: int) -> None:
    rule = Skip(window=window, sigmas=2.0)
    assert half(rule) == needed
    assert [spike((1.0,) * count, 100.0, rule) for count in (needed - 1, needed)] == [False, True]


def test_the_window_has_the_norms_of_the_last_steps_the_skipped_among_them() -> None:
    found = Skips()
    for step in range(8):
        found = found.after(float(step), step in (3, 7), RULE)
    assert found == Skips((2.0, 3.0, 4.0, 5.0, 6.0, 7.0), 2)
