"""Whether training trains, where the rows of a short stage differ by more than their loss falls."""

from pathlib import Path

import pytest

from stages.report.collect import finished
from stages.report.gates import judge
from stages.store.layout import Layout
from tests.unit.report import make

NOISY = (4.6, 4.2, 4.4, 4.3, 4.5, 4.1, 4.8, 4.5, 4.2)  # the last third's median is above the first's
RISING = (2.0, 2.1, 2.0, 2.5, 2.6, 2.5, 3.0, 3.1, 3.0)


@pytest.mark.parametrize(
    ("losses", "after", "passes"),
    [(NOISY, 3.9, True), (NOISY, 4.1, False), (RISING, 3.9, False), (RISING[::-1], 4.1, True)],
)
def test_heldout_loss_decides_only_within_the_noise_of_the_rows(
    tmp_path: Path, losses: tuple[float, ...], after: float, passes: bool
) -> None:
    warmup = make.ouro_like()["warmup"]
    before, now = ({"validation": {"loss": loss}} for loss in (4.0, after))
    make.write_result(tmp_path, warmup, losses=losses, before=before, after=now)
    (gate,) = judge(finished(Layout(tmp_path, warmup.scale)))
    assert gate.passed == passes
