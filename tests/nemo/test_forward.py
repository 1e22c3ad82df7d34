"""Each layer of Megatron's model computes what the torch engine's does; in bf16 up to its rounding, in any layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.spec.resolved import Stage
from tests.nemo import engines, parity
from tests.nemo.engines import Layout, layout
from tests.nemo.traps import Patch, computed

TP, CP, PP = layout(2, tp=2, sequence_parallel=True), layout(2, cp=2), layout(2, pp=2, vpp=2)


def said(stage: Stage, where: Layout, folder: Path, kind: str = "nemo-bf16", apply: Patch | None = None) -> set[str]:
    """With weights at which attention attends."""
    return {model for model, _ in engines.said(stage, where, folder, kind, 0.2, apply)}


@pytest.mark.parametrize("kind", ["nemo-fp32", "nemo-bf16"])
@pytest.mark.parametrize(
    ("stage", "where"),
    [
        (parity.llama(), layout(2)),
        (parity.llama(), TP),
        (parity.llama(), PP),
        (parity.llama(), layout(2, cp=2, distributed_optimizer=True)),
        (parity.routed("vit", "projector"), layout(4, tp=2, ep=2, sequence_parallel=True)),
        (parity.routed(), PP),
        (parity.ouro(), CP),
        (parity.preferring(parity.llama()), TP),
    ],
    ids=lambda one: str(one) if isinstance(one, Layout) else one.phases[0].objective,
)
def test_nothing_is_said_of_a_model_that_is_the_torch_engines(
    stage: Stage, where: Layout, kind: str, tmp_path: Path
) -> None:
    assert said(stage, where, tmp_path, kind) == {""}


@pytest.mark.parametrize(
    ("stage", "where", "apply", "place"),
    [
        (parity.llama(), PP, computed.other_positions, "behind layer 1"),
        (parity.llama(), TP, computed.pairs_interleaved, "behind layer 1"),
        (parity.ouro(), TP, computed.loop_short, "before layer 1 in loop 3"),
        (parity.routed(), layout(2, ep=2), computed.windowed, "behind layer 1"),
        (parity.llama(), TP, computed.attends_wider, "behind layer 1, in fp32"),
        (parity.ouro(), CP, computed.larger_eps, "behind layer 1 in loop 1, in fp32"),
        (parity.routed(), PP, computed.larger_eps, "behind layer 1, in fp32"),
        (parity.routed(), layout(2, ep=2), computed.rounded_scores, "behind layer 2, in fp32"),
    ],
    ids=["base", "pairs", "loops", "window", "scale", "eps", "eps of latents", "scores"],
)
def test_in_bf16_another_layer_is_found_and_named(
    stage: Stage, where: Layout, apply: Patch, place: str, tmp_path: Path
) -> None:
    (found,) = said(stage, where, tmp_path, apply=apply)
    assert f": Megatron's model computes something else than the torch engine's from the same weights: {place}" in found
