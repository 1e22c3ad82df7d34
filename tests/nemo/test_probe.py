"""What a model is tried by before it trains takes a small part of a step, whatever the stage's size."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from stages.contract import ledger
from stages.data.loading.sample import UNSUPERVISED
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.train.objectives.preference import answers
from tests.nemo import parity

PROJECT = Project.load(Path(__file__).parents[2])
STAGES = [
    one for name in ("llama31_1m", "kimi_vl", "ouro") for one in PROJECT.resolve(name, "paper").stages.values()
    if one.execution.parallel is not None
]  # fmt: skip


@pytest.mark.parametrize("stage", STAGES, ids=lambda one: one.ref)
def test_of_a_published_stages_step_the_rows_are_a_fiftieth_at_most(stage: Stage) -> None:
    from stages.engines.nemo import probe, slope
    from stages.engines.nemo.divided import Divided

    how = stage.execution.parallel
    assert how is not None
    model = Divided.__new__(Divided)
    model._config = SimpleNamespace(sequence_parallel=how.sequence_parallel)
    model._groups = SimpleNamespace(tp=SimpleNamespace(size=lambda: how.tp))
    model._share = SimpleNamespace(contexts=how.cp)  # type: ignore[assignment]
    for phase in stage.phases:
        shape = probe.shaped(phase, model)
        assert shape.context <= phase.context
        assert shape.micro_batch <= phase.micro_batch
        taken = slope.MICROS * shape.micro_batch * stage.execution.dp * shape.context
        step = ledger.step_at(phase, 0)
        assert taken < 0.02 * (step.end - step.start), f"{taken} of {step}"


def test_rows_are_ragged_and_every_document_has_targets() -> None:
    from stages.engines.nemo import probe

    stage = parity.llama()
    rows = probe.rows(stage, stage.phases[0].model_copy(update={"context": 64}), 8)
    targets = [int((one.labels != UNSUPERVISED).sum()) for one in rows]
    assert len(set(targets)) == len(rows)
    assert all(sorted(set(one.segments)) == [0, 1] and len(answers(one)) == 2 for one in rows)
    assert all(np.array_equal(np.flatnonzero(one.positions == 0)[1], np.sum(one.segments == 0)) for one in rows)
    assert [one.tokens.tolist() for one in rows] == [
        one.tokens.tolist() for one in probe.rows(stage, stage.phases[0].model_copy(update={"context": 64}), 8)
    ]
