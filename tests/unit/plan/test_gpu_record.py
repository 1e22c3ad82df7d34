"""The plan beside what was measured on an H200: results/records/gpu_apex.md, made at 17aed70, and gpu_flash4.md.

The rates of specs/hardware were fitted to these steps; the memory's parts were counted, and one was left out that the
measurement showed to be none. So this says how well the plan describes these runs, not how it does elsewhere.
"""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.device import harness, training
from stages.contract import duration, hardware, memory, memory_layers
from stages.spec.project import Project

# Seconds of a step, exact and fast; the most bytes of tensors, in GB, exact.
MEASURED = {
    "h200": ((0.323, 0.257, 17.0), (2.48, 1.68, 9.15), (0.366, 0.321, 43.5), (2.95, 2.1, 48.1)),
    "h200_flash4": ((0.244, 0.242, 16.4), (1.45, 1.44, 8.43), (0.319, 0.317, 43.2), (2.19, 2.01, 47.6)),
}
EACH = [(name, *one) for name, found in MEASURED.items() for one in zip(training.GPU, found, strict=True)]
NAMED = [f"{name}: {work.name}, {work.context}" for name, work, _ in EACH]


@pytest.fixture(scope="module")
def h200() -> hardware.Hardware:
    return training.profile("h200")


@pytest.mark.parametrize(("name", "work", "measured"), EACH, ids=NAMED)
@pytest.mark.parametrize("exact", [True, False], ids=["exact", "fast"])
def test_a_step_takes_as_long_as_planned(name: str, work: Any, measured: Any, exact: bool) -> None:
    stage = harness.stage(work, "cuda", exact)
    found = duration.step_seconds(stage, stage.phases[0], training.profile(name), {})
    assert found == pytest.approx(measured[0 if exact else 1], rel=0.1)


@pytest.mark.parametrize(("name", "work", "measured"), EACH, ids=NAMED)
def test_its_tensors_take_as_much_as_planned(
    name: str, work: Any, measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the loss was taken in these runs: logits of a chunk, and no slopes of several chunks."""
    monkeypatch.setattr(memory_layers, "AT_ONCE", memory_layers.ON_GPU)
    monkeypatch.setattr(memory_layers, "TOGETHER", 0)
    stage = harness.stage(work, "cuda")
    found = memory.of(stage, stage.phases[0], training.profile(name))
    assert (found.total - found.runtime - found.spare) / 1e9 == pytest.approx(measured[2], rel=0.1)


# Of results/records/gpu.md and gpu_flash4.md, in MB: four steps of stages of llama31_1m at scale small, exact.
HELD = {
    "h200": {"base": 11_120, "cpt_512k": 11_553, "sft_1m": 13_213},
    "h200_flash4": {"base": 10_946, "sft_1m": 11_603},
}


@pytest.mark.parametrize(
    ("name", "stage", "held"), [(name, stage, held) for name, found in HELD.items() for stage, held in found.items()]
)
def test_a_stages_tensors_take_as_much_as_planned(name: str, stage: str, held: int, project: Project) -> None:
    """A whole row of 131,072 positions: the queries' gradients, added up apart for 132 multiprocessors, are 4.4 GB."""
    made = project.resolve("llama31_1m", "small").stages[stage]
    found = max((memory.of(made, phase, training.profile(name)) for phase in made.phases), key=lambda one: one.total)
    assert (found.total - found.runtime - found.spare) / 1e6 == pytest.approx(held, rel=0.1)


def test_with_flash_attention_4_all_but_attention_is_as_without_it(h200: hardware.Hardware) -> None:
    with_it = training.profile("h200_flash4")
    changed = {"name", "title", "sources", "rates"}
    assert {key: value for key, value in vars(with_it).items() if key not in changed} == {
        key: value for key, value in vars(h200).items() if key not in changed
    }
    assert h200.rates is not None
    assert with_it.rates is not None
    assert (with_it.rates.products, with_it.rates.bandwidth) == (h200.rates.products, h200.rates.bandwidth)
    assert with_it.rates.attention_exact > h200.rates.attention_exact


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
