"""A larger vocabulary on several ranks, trained. How its rows come in: tests/nemo/test_receiving.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.engines import torch_engine, training
from tests.nemo import engines
from tests.nemo.engines import Layout, layout
from tests.unit.train import tiny
from tests.unit.train.test_extended import MORE, Rule, grown

pytestmark = pytest.mark.slow
ROWS = tiny.VOCAB - 3  # three rows of the parent's are padding


@pytest.mark.parametrize(("where", "rule"), [(layout(2, tp=2), "mean"), (layout(2, pp=2), "fresh")], ids=str)
def test_an_extended_stage_agrees_with_the_torch_engine(where: Layout, rule: Rule, tmp_path: Path) -> None:
    """Both engines go on from one parent; before the first step a guard compares every old row and its moments."""
    parent, (nemo, torch) = tiny.make("next_token"), (tmp_path / "nemo", tmp_path / "torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "PhaseData", tiny.Data)
        for root in (nemo, torch):
            torch_engine.run(parent, tiny.inputs(root))
        stage, given = grown(parent, torch, rule, ROWS)
        torch_engine.run(stage, given)
    known = engines.left(given, "tiny/grown")
    stage, given = grown(parent, nemo, rule, ROWS)
    engines.run(engines.on_nemo(stage, where), given)
    found = engines.left(given, "tiny/grown")
    assert engines.exact(found) == engines.exact(known)
    assert found.weights["llm.lm_head.weight"].shape[0] == MORE
    for column, bound in (("loss", 5e-6), ("grad_norm", 1e-4)):
        for one, other in zip(found.rows, known.rows, strict=True):
            assert float(one[column]) == pytest.approx(float(other[column]), rel=bound), (column, one["step"])
    assert engines.apart(found.weights, known.weights) < 2e-5
    assert engines.apart(found.state, known.state) < 1e-4
