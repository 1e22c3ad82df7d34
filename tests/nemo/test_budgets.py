"""Budgets are exact whatever divides a step: batches that grow, steps of one row, and a last step that ends early."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.spec.resolved import Stage
from stages.spec.resolved_phases import BatchStep, Phase
from tests.nemo import engines
from tests.nemo.engines import Layout, layout
from tests.unit.train import tiny

CONTEXT = tiny.CONTEXT
MODEL = tiny.LLAMA.model_copy(update={"layers": 4, "heads": 4, "kv_heads": 2})
LAYOUTS = (
    layout(3, distributed_optimizer=True),
    layout(2, pp=2, vpp=2),
    layout(4, cp=2, distributed_optimizer=True),
    layout(4, tp=2, pp=2, sequence_parallel=True),
    layout(4, pp=2, cp=2, recompute="full"),
)


def phases() -> tuple[Phase, Phase]:
    """One, three, then seven rows a step, the last one cut short; then rows of twice the length."""
    batch = (
        BatchStep(after=0, sequences=1),
        BatchStep(after=5 * CONTEXT, sequences=3),
        BatchStep(after=20 * CONTEXT, sequences=7),
    )
    first = tiny.phase("next_token", name="growing", batch=batch, budget=31 * CONTEXT + 7)
    second = tiny.phase(
        "next_token", name="longer", batch=(BatchStep(after=0, sequences=3),), budget=8 * CONTEXT + 1,
        context=2 * CONTEXT, micro_batch=1, clock_start=first.budget,
    )  # fmt: skip
    return first, second


@pytest.fixture(scope="module")
def stage() -> Stage:
    return tiny.stage({"llm": MODEL}, phases(), ("llm",))


@pytest.fixture(scope="module")
def wanted(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> engines.Left:
    return engines.by_torch(stage, tmp_path_factory.mktemp("torch"))


@pytest.mark.parametrize("where", LAYOUTS, ids=str)
def test_counts_rates_and_losses_of_every_step(
    where: Layout, stage: Stage, wanted: engines.Left, tmp_path: Path
) -> None:
    given = tiny.inputs(tmp_path, phases=len(stage.phases))
    engines.run(engines.on_nemo(stage, where), given)
    found = engines.left(given)
    assert engines.exact(found) == engines.exact(wanted)
    assert int(found.rows[-1]["tokens"]) == sum(phase.budget for phase in phases())
    for mine, known in zip(found.rows, wanted.rows, strict=True):
        assert float(mine["loss"]) == pytest.approx(float(known["loss"]), rel=5e-6)
