"""The plan beside what was measured on an H200: results/records/gpu.md, made at 17aed70.

The rates of specs/hardware/h200.yaml were fitted to these steps; the memory's parts were counted, and one was left out
that the measurement showed to be none. So this says how well the plan describes that run, not how it does elsewhere.
"""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.device import harness, training
from stages.contract import duration, hardware, memory

# Seconds of a step, exact and fast; the most bytes of tensors, in GB, exact.
MEASURED = ((0.323, 0.257, 17.0), (2.48, 1.68, 9.15), (0.366, 0.321, 43.5), (2.95, 2.1, 48.1))
EACH = list(zip(training.GPU, MEASURED, strict=True))


@pytest.fixture(scope="module")
def h200() -> hardware.Hardware:
    return training.profile("h200")


@pytest.mark.parametrize(("work", "measured"), EACH, ids=[f"{work.name}, {work.context}" for work, _ in EACH])
@pytest.mark.parametrize("exact", [True, False], ids=["exact", "fast"])
def test_a_step_takes_as_long_as_planned(work: Any, measured: Any, exact: bool, h200: hardware.Hardware) -> None:
    stage = harness.stage(work, "cuda", exact)
    found = duration.step_seconds(stage, stage.phases[0], h200, {})
    assert found == pytest.approx(measured[0 if exact else 1], rel=0.1)


@pytest.mark.parametrize(("work", "measured"), EACH, ids=[f"{work.name}, {work.context}" for work, _ in EACH])
def test_its_tensors_take_as_much_as_planned(work: Any, measured: Any, h200: hardware.Hardware) -> None:
    stage = harness.stage(work, "cuda")
    found = memory.of(stage, stage.phases[0], h200)
    assert (found.total - found.runtime - found.spare) / 1e9 == pytest.approx(measured[2], rel=0.1)


def test_without_rates_a_gpu_is_priced_by_its_share_of_the_peak(h200: hardware.Hardware) -> None:
    stage = harness.stage(training.GPU[0], "cuda")
    bare = h200.__class__(**{**vars(h200), "rates": None})
    work = training.GPU[0]
    assert duration.step_seconds(stage, stage.phases[0], bare, {}) == pytest.approx(
        work.flops * work.tokens / (bare.peak * bare.mfu)
    )


def test_recomputed_layers_and_exact_attention_cost_time(h200: hardware.Hardware) -> None:
    kept, again = (training.GPU[1].__class__(**{**vars(training.GPU[1]), "recomputed": how}) for how in (False, True))
    times = [
        duration.step_seconds(stage, stage.phases[0], h200, {})
        for stage in (
            harness.stage(kept, "cuda", False),
            harness.stage(again, "cuda", False),
            harness.stage(again, "cuda"),
        )
    ]
    assert times == sorted(times)
    assert len(set(times)) == 3
