"""A whole stage on the NeMo engine beside the torch engine: same data, rates, budget; numbers up to rounding."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Loops
from stages.store import json_file, manifest
from tests.nemo import engines
from tests.nemo.engines import Layout, layout
from tests.unit.train import tiny

pytestmark = pytest.mark.slow
LAYOUTS = (
    layout(),
    layout(2),
    layout(2, distributed_optimizer=True),
    layout(2, pp=2),
    layout(2, tp=2, sequence_parallel=True),
    layout(4, tp=2),
    layout(recompute="full"),
)  # further ones: tests/nemo/parity.py


def made(objective: str) -> Stage:
    """With an epsilon above rounding: under 1e-8 an element whose first gradient is rounding moves by a whole rate."""
    return tiny.make(objective).model_copy(update={"optimizer": tiny.ADAMW.model_copy(update={"eps": 1e-6})})


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, engines.Left]:
    """What the torch engine makes of each objective."""
    return {name: engines.by_torch(made(name), tmp_path_factory.mktemp(name)) for name in ("next_token", "sft")}


@pytest.mark.parametrize(
    ("objective", "where"),
    [*(("next_token", one) for one in LAYOUTS), *(("sft", one) for one in (layout(), layout(2), layout(2, cp=2)))],
    ids=str,
)
def test_a_stage_agrees_with_the_torch_engine(
    objective: str, where: Layout, wanted: dict[str, engines.Left], tmp_path: Path
) -> None:
    given = tiny.inputs(tmp_path)
    engines.run(engines.on_nemo(made(objective), where), given)
    found, known = engines.left(given), wanted[objective]
    assert engines.exact(found) == engines.exact(known)
    for column, bound in (("loss", 5e-6), ("grad_norm", 1e-4)):
        differences = [
            abs(float(one[column]) / float(other[column]) - 1)
            for one, other in zip(found.rows, known.rows, strict=True)
        ]
        assert differences[0] < 1e-6
        assert max(differences) < bound
    assert engines.apart(found.weights, known.weights) < 2e-5
    assert engines.apart(found.state, known.state) < 1e-4


def test_a_result_says_what_it_was_made_by_and_promises_no_equal_bits(tmp_path: Path) -> None:
    given = tiny.inputs(tmp_path)
    engines.run(engines.on_nemo(tiny.make("next_token")), given)
    place = given.layout.stage("tiny/box")
    assert manifest.read(given.layout.manifest("tiny/box")).tier == "same-order"
    made = json_file.read(place / "run.json")
    assert {"megatron-core": "0.19.2", "megatron-bridge": "0.6.2"}.items() <= made["environment"]["device"][
        "engine"
    ].items()
    cores = ("cross_entropy", "adamw", "global_norm", "scale", "silu_mul", "rotate", "head_loss")
    ours = {"rms_norm": "plain", "attention": "sdpa", "experts": "loop"}
    assert made["ops"] == {**ours, **dict.fromkeys(cores, "megatron-core")}


def test_one_loop_alone_asks_no_gate(tmp_path: Path) -> None:
    """As a looped model may be trained before it is looped: its gate has no gradient."""
    one = tiny.phase("looped", loops=Loops(count=1, beta=0.1))
    stage = tiny.stage({"llm": tiny.OURO}, (one,), ("llm",))
    given = tiny.inputs(tmp_path / "nemo")
    engines.run(engines.on_nemo(stage), given)
    found, wanted = engines.left(given), engines.by_torch(stage, tmp_path / "torch")
    assert engines.apart(found.weights, wanted.weights) < 2e-5
