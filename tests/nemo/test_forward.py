"""A layer of Megatron's model that computes something else than the torch engine's is found, and named.

That nothing is said of layers that compute the same is in tests/nemo/test_backward.py, next to their gradients.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.spec.resolved import Stage
from tests.nemo import engines, parity
from tests.nemo.engines import Layout, layout
from tests.nemo.traps import Patch, computed

TP, CP, PP = layout(2, tp=2, sequence_parallel=True), layout(2, cp=2), layout(2, pp=2, vpp=2)


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
    attending = 0.2  # deviation of weights
    ((found, _),) = engines.said(stage, where, tmp_path, "nemo-bf16", attending, apply)
    assert f": Megatron's model computes something else than the torch engine's from the same weights: {place}" in found
