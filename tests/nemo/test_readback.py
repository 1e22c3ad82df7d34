"""What Megatron's objects say of themselves reaches the guards, from every rank."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.engines import Inputs
from stages.guards.report import BuiltReport
from stages.spec.resolved import Stage
from tests.nemo import engines, parity
from tests.nemo.engines import layout
from tests.nemo.ranks import RankError
from tests.unit.train import tiny

Change = Callable[[Any, int], None]
"""Something done to a trainer's objects on a rank, between building them and reading them back."""


def _built(stage: Stage, inputs: Inputs, change: Change | None) -> BuiltReport | None:
    from stages.engines import place
    from stages.engines.nemo import groups
    from stages.engines.nemo.trainer import NemoTrainer

    with groups.met(stage, place.of(stage)) as group:
        trainer = NemoTrainer(stage, inputs, group)
        trainer.begin()
        if change is not None:
            change(trainer, group.rank)
        return trainer.built()


def built(folder: Path, change: Change | None = None, ranks: int = 2, **divided: Any) -> BuiltReport:
    stage = engines.on_nemo(parity.llama(), layout(ranks, **divided))
    found = engines.call(ranks, _built, stage, tiny.inputs(folder), change)
    assert all(one is None for one in found[1:])
    report: BuiltReport = found[0]
    return report


@pytest.mark.parametrize("divided", [{"tp": 2}, {"pp": 2}])
def test_parameters_are_counted_once_over_all_ranks(divided: dict[str, Any], tmp_path: Path) -> None:
    module = built(tmp_path, **divided).modules["llm"]
    assert module.takes_gradient == module.parameters == 3 + 6 * parity.LAYERS["layers"]
    assert len(module.weights) == 3 + 9 * parity.LAYERS["layers"]


def turned(trainer: Any, rank: int) -> None:
    """The rotary frequencies of one rank alone."""
    if rank == 1:
        for module in trainer._chunks[0].modules():
            if hasattr(module, "inv_freq"):
                module.inv_freq = module.inv_freq * 0.5


def test_frequencies_of_one_rank_alone_do_not_pass_as_those_of_all(tmp_path: Path) -> None:
    good, bad = (built(tmp_path, change, tp=2).modules["llm"].frequencies for change in (None, turned))
    assert good is not None
    assert bad is not None
    assert len(good) == parity.LAYERS["head_dim"] // 2
    assert len(bad) == 2 * len(good)


def frozen(trainer: Any, rank: int) -> None:
    for one in trainer._moved.owned:
        one.trained = False


def test_what_takes_no_gradient_is_reported(tmp_path: Path) -> None:
    assert built(tmp_path, frozen, tp=2).modules["llm"].takes_gradient == 0


def dropout(trainer: Any, rank: int) -> None:
    trainer._chunks[0].config.hidden_dropout = 0.1 if rank == 1 else 0.0


def averaged(trainer: Any, rank: int) -> None:
    trainer._chunks[0].ddp_config.average_in_collective = True


def other_beta(trainer: Any, rank: int) -> None:
    trainer._moved.core.chained_optimizers[0].config.adam_beta2 = 0.999


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dropout, "model.hidden_dropout is 0.1, configured 0.0"),
        (averaged, "ddp.average_in_collective is True, configured False"),
        (other_beta, "optimizer.adam_beta2 is 0.999, configured 0.95"),
    ],
)
def test_a_field_that_is_not_as_configured_stops_all_ranks(change: Change, said: str, tmp_path: Path) -> None:
    with pytest.raises(RankError, match=rf"(?s)rank 0.*{said}.*rank 1.*{said}|rank 1.*{said}.*rank 0.*{said}"):
        built(tmp_path, change, tp=2)
