"""The real engine on conversations and replayed text: both are counted in the metrics, and the guards agree."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from stages.data.loading.loader import PhaseData
from stages.data.loading.readers import scope
from stages.engines import run
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Model
from stages.spec.resolved_phases import Loops
from tests.unit.data.conftest import small
from tests.unit.data.small import Small, phase
from tests.unit.train import tiny

__all__ = ("small",)
CONTEXT = 128
LLAMA, OURO = (model.model_copy(update={"vocab": 300}) for model in (tiny.LLAMA, tiny.OURO))


def mixed(small: Small, model: Model, loops: Loops | None) -> Stage:
    """Five steps of four rows and a short one; a quarter of the rows is text."""
    sources = (small.source("reasoning", weight=3), small.source("math", weight=1))
    made = phase(
        *sources, objective="sft", packing="whole", context=CONTEXT, budget=20 * CONTEXT + 90, epochs=4, loops=loops
    )
    return tiny.stage({"llm": model}, (made,), ("llm",))


@pytest.mark.parametrize(
    ("model", "loops"), [(LLAMA, None), (OURO, Loops(count=2, beta=0.1))], ids=["causal", "looped"]
)
def test_answers_and_text_are_counted_step_by_step(
    small: Small, tmp_path: Path, model: Model, loops: Loops | None
) -> None:
    stage = mixed(small, model, loops)
    given = replace(tiny.inputs(tmp_path), data_root=small.data)
    run(stage, given)  # its guards recount every target from the corpora
    with (given.layout.stage("tiny/box") / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    data = PhaseData(stage.phases[0], stage.seed, scope(stage.phases[0]), small.data)
    for number, row in enumerate(rows[:5]):
        found = {"reasoning": 0, "math": 0}
        for sample in data.samples(4 * number, 4, 0):
            found[sample.spans[0][0]] += int((sample.labels != -100).sum())
        assert (float(row["supervised_answers"]), float(row["supervised_text"])) == tuple(found.values())
        assert int(row["supervised"]) == sum(found.values())
        assert min(found.values()) > 0
    assert len(rows) == 6


def test_a_phase_without_replay_has_the_columns_that_it_had(small: Small, tmp_path: Path) -> None:
    stage = mixed(small, LLAMA, None)
    alone = stage.phases[0].model_copy(update={"sources": stage.phases[0].sources[:1]})
    given = replace(tiny.inputs(tmp_path), data_root=small.data)
    run(stage.model_copy(update={"phases": (alone,)}), given)
    header = (given.layout.stage("tiny/box") / "metrics.csv").read_text().splitlines()[0]
    assert header == "phase,step,tokens,clock,lr,loss,grad_norm,supervised"
