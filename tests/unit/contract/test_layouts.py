"""Which sizes of a model a layout has to divide, each by itself."""

from __future__ import annotations

from typing import Any

import pytest

from stages.contract import layouts
from stages.spec.resolved_parallel import Parallel
from tests.unit.train import tiny

TP2 = Parallel(
    tp=2, pp=1, cp=1, ep=1, vpp=1, sequence_parallel=True, distributed_optimizer=False, recompute="none"
)  # fmt: skip


def misfits(objective: str, **changes: Any) -> list[str]:
    """What `tp` 2 does not divide of a tiny model with these changes."""
    stage = tiny.make(objective)
    execution = stage.execution.model_copy(update={"engine": "nemo", "ranks": 2, "parallel": TP2})
    modules = {"llm": stage.modules["llm"].model_copy(update=changes)}
    return [
        one.observed
        for one in layouts.undivided(stage.model_copy(update={"execution": execution} | {"modules": modules}))
    ]


@pytest.mark.parametrize("objective", ["next_token", "looped", "moe"])
def test_what_is_even_is_divided(objective: str) -> None:
    assert misfits(objective) == []


@pytest.mark.parametrize(
    ("objective", "changes", "found"),
    [
        ("next_token", {"kv_heads": 1}, "kv_heads 1"),
        ("moe", {"kv_lora_rank": 7}, "the latent's and the rotary key's width 11"),
        ("moe", {"expert_ffn": 7}, "shared experts' width 7"),
    ],
)
def test_what_is_odd_is_named(objective: str, changes: dict[str, int], found: str) -> None:
    assert misfits(objective, **changes) == [f"2, for {found}"]
