"""Layers and gradients of Megatron's model are the torch engine's; in bf16 up to its rounding, in any layout."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stages.spec.resolved import Stage
from tests.nemo import engines, parity
from tests.nemo.engines import Layout, layout
from tests.nemo.traps import Patch, backward, optimizer

TP, CP, PP = layout(2, tp=2, sequence_parallel=True), layout(2, cp=2), layout(2, pp=2, vpp=2)
LLAMA, ROUTED, SEEING = parity.llama(), parity.routed(), parity.routed("vit", "projector")


def tied(stage: Stage) -> Stage:
    return stage.model_copy(update={"modules": {"llm": stage.modules["llm"].model_copy(update={"tied": True})}})


# With weights as stages begin with, and with such at which attention attends.
@pytest.mark.parametrize(("kind", "std"), [("nemo-fp32", 0.2), ("nemo-bf16", 0.2), ("nemo-bf16", 0.02)])
@pytest.mark.parametrize(
    ("stage", "where"),
    [
        (LLAMA, layout(2)),
        (LLAMA, TP),
        (LLAMA, PP),
        (tied(LLAMA), layout(2, pp=2)),
        (LLAMA, layout(2, cp=2, distributed_optimizer=True)),
        (SEEING, layout(4, tp=2, ep=2, sequence_parallel=True)),
        (ROUTED, PP),
        (parity.ouro(), CP),
        (tied(parity.ouro()), TP),
        (parity.preferring(LLAMA), TP),
        (parity.preferring(ROUTED), CP),
    ],
    ids=lambda one: str(one) if isinstance(one, Layout) else one.phases[0].objective,
)
def test_nothing_is_said_of_layers_and_gradients_that_are_the_torch_engines(
    stage: Stage, where: Layout, kind: str, std: float, tmp_path: Path
) -> None:
    assert engines.said(stage, where, tmp_path, kind, std) == {("", "")}


@pytest.mark.parametrize(
    ("stage", "where", "apply", "kind", "found"),
    [
        (LLAMA, layout(2, pp=2), backward.pipeline, "nemo-bf16", "layers.[01]"),
        (LLAMA, CP, backward.keys_of_own_rank, "nemo-bf16", "layers"),
        (LLAMA, layout(), backward.attention(0.5), "nemo-bf16", "v_proj"),
        (LLAMA, layout(), backward.attention(1.001), "nemo-fp32", "(layers|embed_tokens)"),
        (LLAMA, layout(), backward.overwritten, "nemo-bf16", "weight"),
        (LLAMA, layout(), backward.no_way_to_words, "nemo-bf16", "embed_tokens"),
        (ROUTED, layout(2, ep=2), backward.experts_shared, "nemo-bf16", "layers"),
        (ROUTED, layout(2), backward.unbalanced, "nemo-fp32", "gate.weight"),
        (tied(parity.ouro()), layout(), backward.half_a_head, "nemo-bf16", "embed_tokens"),
        (SEEING, layout(), backward.unseen, "nemo-bf16", "(vit|projector)"),
        (LLAMA, layout(2, tp=2), optimizer.norm_twice, "nemo-fp32", "the norm of all gradients is"),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_a_wrong_gradient_is_found_and_named(
    stage: Stage, where: Layout, apply: Patch, kind: str, found: str, tmp_path: Path
) -> None:
    ((model, gradients),) = engines.said(stage, where, tmp_path, kind, 0.1, apply)
    assert not model
    assert "Megatron's gradients are not the torch engine's from the same weights" in gradients
    assert re.search(found, gradients), gradients
