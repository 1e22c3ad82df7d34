"""A whole stage of Moonlight, alone and with a vision tower, on the NeMo engine beside the torch engine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from stages.engines import torch_engine, training
from tests.nemo import engines
from tests.nemo.engines import Layout, layout
from tests.nemo.test_engine import EXACT
from tests.unit.train import tiny

LAYOUTS = (
    layout(),
    layout(2, pp=2),
    layout(2, cp=2),
    layout(4, tp=2, ep=2, sequence_parallel=True),
    layout(recompute="full"),
)
OBJECTIVES = ("moe", "joint")


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, engines.Left]:
    """What the torch engine makes of each objective."""
    found = {}
    for objective in OBJECTIVES:
        given = tiny.inputs(tmp_path_factory.mktemp(objective))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "PhaseData", tiny.Data)
            torch_engine.run(tiny.make(objective), given)
        found[objective] = engines.left(given)
    return found


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("where", LAYOUTS, ids=str)
def test_a_stage_agrees_with_the_torch_engine(
    objective: str, where: Layout, wanted: dict[str, engines.Left], tmp_path: Path
) -> None:
    given = tiny.inputs(tmp_path)
    engines.run(engines.on_nemo(tiny.make(objective), where), given)
    found, known = engines.left(given), wanted[objective]
    assert [[row[column] for column in EXACT] for row in found.rows] == [
        [row[column] for column in EXACT] for row in known.rows
    ]
    for column in ("loss", "grad_norm", "aux_loss", "overload"):
        for one, other in zip(found.rows, known.rows, strict=True):
            assert float(one[column]) == pytest.approx(float(other[column]), rel=1e-6), (column, one["step"])
    assert engines.apart(without_key_biases(found.weights), without_key_biases(known.weights)) < 5e-6
    assert engines.apart(found.state, known.state) < 5e-6


def without_key_biases(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A bias of keys moves all of a query's scores alike, so that its gradient is zero but for rounding, and AdamW
    divides it by its own size.
    """
    kept = dict(weights)
    for name in [name for name in weights if name.endswith("wqkv.bias")]:
        queries, _, values = weights[name].chunk(3)
        kept[name] = torch.cat((queries, values))
    return kept
