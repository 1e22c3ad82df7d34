"""A whole stage of Ouro on the NeMo engine beside the torch engine.

Rates, counts and budgets are equal. Numbers agree as far as the torch engine's own do when each gradient is disturbed
by a millionth of its size, which is what a step's gradients differ by in tests/nemo/test_steps.py: from fresh weights
AdamW divides gradients near its eps by themselves, so that eleven steps at a high rate make a thousand times of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.data.loading.sample import Sample
from stages.spec.resolved_phases import Loops
from stages.train import objectives, replicated
from tests.nemo import engines, ranks
from tests.nemo.engines import Layout, Left, layout
from tests.unit.train import tiny

NUMBERS = ("loss", "entropy", "exit_loop", "loss_loop_1", "loss_loop_2", "loss_loop_3", "grad_norm")
LAYOUTS = (
    layout(),
    layout(2),
    layout(2, distributed_optimizer=True),
    layout(2, tp=2),
    layout(2, tp=2, sequence_parallel=True),
    layout(2, cp=2),
    layout(4, tp=2, cp=2, sequence_parallel=True),
    layout(4, tp=2, distributed_optimizer=True),
    layout(recompute="full"),
    layout(2, cp=2, recompute="selective"),
)
COVERED = (layout(2), layout(2, tp=2), layout(2, cp=2))  # by the others


@dataclass(frozen=True)
class Torch:
    """What the torch engine makes of the stage, and how far from that it comes with disturbed gradients."""

    left: Left
    rows: float
    weights: float
    state: float


def disturbed(gradients: list[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Noise of 1e-6 of a tensor's root mean square on every entry that is not 0."""
    return [
        one + 1e-6 * one.square().mean().sqrt() * torch.randn(one.shape, generator=generator) * (one != 0)
        for one in gradients
    ]


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> Torch:
    stage, real, generator = tiny.make("looped"), replicated.gather, torch.Generator().manual_seed(3)

    def gather(*args: Any) -> tuple[list[Tensor], list[Tensor]]:
        gradients, values = real(*args)
        return disturbed(gradients, generator), values

    known = engines.by_torch(stage, tmp_path_factory.mktemp("torch"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replicated, "gather", gather)
        other = engines.by_torch(stage, tmp_path_factory.mktemp("disturbed"))
    rows = max(differences(other, known))
    return Torch(known, rows, engines.apart(other.weights, known.weights), engines.apart(other.state, known.state))


def differences(one: Left, other: Left) -> list[float]:
    """The largest relative difference of any number, step by step."""
    return [
        max(abs(float(mine[column]) / float(known[column]) - 1) for column in NUMBERS)
        for mine, known in zip(one.rows, other.rows, strict=True)
    ]


@pytest.mark.parametrize(
    "where",
    [pytest.param(one, marks=pytest.mark.nightly if one in COVERED else ()) for one in LAYOUTS],
    ids=str,
)
def test_a_stage_of_ouro_agrees_with_the_torch_engine(where: Layout, wanted: Torch, tmp_path: Path) -> None:
    given = tiny.inputs(tmp_path)
    engines.run(engines.on_nemo(tiny.make("looped"), where), given)
    found, known = engines.left(given), wanted.left
    assert engines.exact(found) == engines.exact(known)
    apart = differences(found, known)
    assert apart[0] < 1e-6
    assert max(apart) < wanted.rows
    assert engines.apart(found.weights, known.weights) < wanted.weights
    assert engines.apart(found.state, known.state) < wanted.state


def test_pipeline_ranks_are_refused_before_anything_is_built(tmp_path: Path) -> None:
    with pytest.raises(ranks.RankError, match=r"UserError: pp: 2: Ouro's layers run in loops"):
        engines.run(engines.on_nemo(tiny.make("looped"), layout(2, pp=2)), tiny.inputs(tmp_path))


def test_columns_are_the_torch_engines_also_where_text_is_replayed() -> None:
    from stages.engines.nemo.looped import Looped

    (source,) = tiny.make("looped").phases[0].sources
    text = source.model_copy(update={"corpus": "text", "kind": "text"})
    talk = source.model_copy(update={"corpus": "talk", "kind": "conversations"})
    phase = tiny.phase("sft", loops=Loops(count=2, beta=0.1), sources=(talk, text))
    work = Looped(phase)
    assert work.extras == objectives.extras(tiny.stage({"llm": tiny.OURO}, (phase,), ("llm",)))
    labels = np.array([1, -100, 2, 3])
    rows = [
        Sample(labels.clip(0), labels, np.zeros(4, np.int32), np.arange(4), (), ((corpus, 0, 0, 4),))
        for corpus in ("talk", "text", "text")
    ]
    work.begin(rows)
    loss, *extras = work.values(0.5, [9.0, 18.0, 27.0, 36.0])
    assert loss == 0.5
    assert dict(zip(work.extras, extras, strict=True)) == {
        "entropy": 1.0, "exit_loop": 2.0, "loss_loop_1": 3.0, "loss_loop_2": 4.0,
        "supervised_answers": 3.0, "supervised_text": 6.0,
    }  # fmt: skip
