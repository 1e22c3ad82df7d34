"""A step of Llama and of Ouro is the torch engine's, however its rows and matrices are divided over ranks."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch.distributed as dist
from torch import Tensor, nn

from stages.errors import UserError
from stages.spec.resolved import Stage
from tests.nemo import step_case as case
from tests.nemo.ranks import run
from tests.nemo.step_case import Layout

LOSS, COLUMNS, GRADIENT = 1e-6, 1e-6, 2e-6  # relative differences; of gradients in norm, tensor by tensor
LAYOUTS = [
    Layout(),
    Layout(cp=2),
    Layout(cp=4),
    Layout(tp=2),
    Layout(tp=2, sequence=True),
    Layout(dp=2),
    Layout(tp=2, cp=2, sequence=True),
    Layout(cp=2, dp=2),
    Layout(cp=2, recompute="full"),
    Layout(cp=2, recompute="selective"),
]


def state(own: Stage, lm: nn.Module) -> dict[str, Tensor]:
    return {f"llm.{name}": tensor for name, tensor in lm.state_dict().items()}


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("family", ["llama", "ouro"])
def test_loss_and_gradients_of_a_step_are_the_torch_engines(family: str, layout: Layout) -> None:
    own = case.stage(family)
    lm = case.model(own)
    wanted = case.by_torch(own, lm)
    found = run(layout.ranks, case.by_core, own, layout, state(own, lm))
    for one in found:
        assert one.loss == pytest.approx(wanted.loss, rel=LOSS)
        assert one.columns == pytest.approx(wanted.columns, rel=COLUMNS)
    worst, name = case.worst(case.assembled(own, layout, found), wanted.gradients)
    assert worst <= GRADIENT, name


@pytest.mark.parametrize("layout", [Layout(bf16=True), Layout(tp=2, cp=2, sequence=True, bf16=True)], ids=str)
@pytest.mark.parametrize("family", ["llama", "ouro"])
def test_in_bf16_a_step_is_the_same_up_to_the_rounding_of_bf16(family: str, layout: Layout) -> None:
    """Eight bits: losses agree to 1e-3, gradients to a tenth (seen: 5e-4 and 0.063)."""
    own = case.stage(family)
    lm = case.model(own)
    wanted = case.by_torch(own, lm)
    found = run(layout.ranks, case.by_core, own, layout, state(own, lm))
    assert found[0].loss == pytest.approx(wanted.loss, rel=1e-3)
    assert found[0].columns == pytest.approx(wanted.columns, rel=1e-2)
    assert case.worst(case.assembled(own, layout, found), wanted.gradients)[0] <= 0.1


def gathered(own: Stage, layout: Layout, weights: Mapping[str, Tensor]) -> list[int]:
    """Elements of every gather over the context-parallel ranks in a step."""
    from stages.engines.nemo import context

    sizes, real = [], dist.all_gather

    def all_gather(parts: Any, part: Any, group: Any) -> None:
        sizes.append(sum(x.numel() for x in parts))
        real(parts, part, group=group)

    context.dist = type("Dist", (), {**vars(dist), "all_gather": staticmethod(all_gather)})
    case.by_core(own, layout, weights)
    return sizes


@pytest.mark.parametrize("recompute", [None, "full", "selective"])
def test_what_is_gathered_is_one_layers_keys_and_values_twice_a_micro_batch(recompute: str | None) -> None:
    """Once forwards and once for the backward pass, which keeps nothing gathered; not again where Core recomputes."""
    own, layout = case.stage("llama"), Layout(cp=2, recompute=recompute)
    cfg = case.LLAMA
    each = case.MICRO * case.LENGTH * cfg.kv_heads * 2 * cfg.head_dim
    for sizes in run(2, gathered, own, layout, state(own, case.model(own))):
        assert sizes == [each] * (2 * cfg.layers * 4)  # four micro-batches


def test_ouros_layers_are_not_divided_over_pipeline_ranks() -> None:
    from stages.engines.nemo import ouro

    config = SimpleNamespace(num_layers=2, pipeline_model_parallel_size=2)
    with pytest.raises(UserError, match=r"pp: 2: Ouro's layers run in loops.* Use pp: 1"):
        ouro.build(case.OURO, config, case.LENGTH)
