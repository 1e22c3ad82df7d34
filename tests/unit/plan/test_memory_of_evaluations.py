"""Memory of a stage's evaluations by plan, beside what a forward pass has at once: traced, nothing is computed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from stages.contract import evaluations, hardware, memory_engine
from stages.evals import Whole
from stages.models.build import make
from stages.models.kimi_vl import Batch
from stages.spec.project import Project
from stages.spec.resolved import Stage
from tests.unit.engines.alive import Alive

LAYERS = 2  # what is alive at once does not depend on how many there are


def shortened(project: Project, name: str) -> Stage:
    pipeline, _, own = name.partition("/")
    stage = project.resolve(pipeline, "paper").stages[own]
    model: Any = stage.modules["llm"].model_copy(update={"layers": LAYERS})
    on_cpu = stage.execution.model_copy(update={"device": "cpu"})
    return stage.model_copy(update={"modules": {"llm": model}, "execution": on_cpu})


@pytest.mark.parametrize(
    ("name", "positions"), [("llama31_1m/base", 131_072), ("llama31_1m/base", 8192), ("ouro/upcycle_2_6b", 8192)]
)
def test_a_pass_without_a_graph_has_what_the_plan_says_at_most(project: Project, name: str, positions: int) -> None:
    stage = shortened(project, name)
    by_ref = {f"ouro/{own}": one for own, one in project.resolve("ouro", "paper").stages.items()}
    (phase,) = evaluations.read(stage, by_ref)
    asked = stage.evaluation.model_copy(update={"context": positions})
    device = hardware.load(project.files, "h100")
    planned = memory_engine.evaluating(stage.model_copy(update={"evaluation": asked}), [phase], device)
    alive = Alive()
    with FakeTensorMode(), torch.no_grad():
        model = torch.nn.ModuleDict({"llm": make(stage.modules["llm"], stage.rope, "cpu")})
        weights = sum(one.nbytes for one in model.parameters())
        alive._sizes |= {one.untyped_storage()._cdata: 0 for one in model.parameters()}  # views of them take nothing
        tokens = torch.zeros(1, positions, dtype=torch.int64)
        with alive:
            Whole(stage, model)._hidden(Batch(tokens, torch.arange(positions)[None], None, None, (), None), phase)
    assert planned.states == pytest.approx(weights, rel=1e-3)
    assert 0.45 * planned.activations < alive.peak < planned.activations
