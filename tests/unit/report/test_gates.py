"""Whether training trains, where the rows of a short stage differ by more than their loss falls."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.report.collect import finished
from stages.report.gates import _measured, judge
from stages.store.layout import Layout
from tests.unit.report import make

NOISY = (4.6, 4.2, 4.4, 4.3, 4.5, 4.1, 4.8, 4.5, 4.2)  # the last third's median is above the first's
RISING = (2.0, 2.1, 2.0, 2.5, 2.6, 2.5, 3.0, 3.1, 3.0)


def risen(by: float) -> tuple[float, ...]:
    """Thirds with a variance of 1 each: the difference of their medians has a standard error of sqrt(2/3), or 0.816."""
    return (0.0, 1.0, 2.0, 1.0, 1.0, 1.0, by, by + 1.0, by + 2.0)


@pytest.mark.parametrize(
    ("losses", "after", "passes"),
    [
        (NOISY, 3.9, True),
        (NOISY, 4.1, False),
        (NOISY, 4.0, False),
        (RISING, 3.9, False),
        (RISING[::-1], 4.1, True),
        (risen(1.6), 3.9, True),
        (risen(1.7), 3.9, False),
        ((3.0,) * 9, 4.1, False),
    ],
)
def test_heldout_loss_decides_only_within_the_noise_of_the_rows(
    tmp_path: Path, losses: tuple[float, ...], after: float, passes: bool
) -> None:
    warmup = make.ouro_like()["warmup"]
    before, now = ({"validation": {"loss": loss}} for loss in (4.0, after))
    make.write_result(tmp_path, warmup, losses=losses, before=before, after=now)
    (gate,) = judge(finished(Layout(tmp_path, warmup.scale)))
    assert gate.passed == passes


def test_a_task_is_measured_by_figures_of_its_own_name() -> None:
    stage = make.ouro_like()["warmup"]
    found: Any = SimpleNamespace(stage=stage, after={"lm_eval.arc_easy.acc": 0.5})
    assert _measured(found, "arc_easy").passed
    assert not _measured(found, "arc").passed
