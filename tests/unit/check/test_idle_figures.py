"""Figures of a model that switch off what they name: S-11."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from stages.check.context import Context
from stages.check.rules.mechanisms import inert
from stages.check.rules.unused import declared_is_read
from stages.spec.families.olmo3 import Olmo3Model
from stages.spec.families.smollm3 import SmolLM3Model
from stages.spec.resolved_models import Model
from tests.mutants import changes
from tests.unit.check.conftest import Shipped

SIZES: Mapping[str, float] = {
    "layers": 8, "hidden": 32, "ffn": 48, "heads": 4, "kv_heads": 2, "vocab": 61, "norm_eps": 1e-6, "init_std": 0.02
}  # fmt: skip


def smollm3(every: int) -> Model:
    return SmolLM3Model.model_validate({"family": "smollm3", **SIZES, "tied": True, "nope_every": every})


def olmo3(every: int) -> Model:
    return Olmo3Model.model_validate({"family": "olmo3", **SIZES, "tied": False, "window": 16, "full_every": every})


@pytest.mark.parametrize(("make", "key"), [(smollm3, "nope_every"), (olmo3, "full_every")])
def test_an_interval_is_met_by_some_layers_and_not_by_all(make: Callable[[int], Model], key: str) -> None:
    told = {every: list(inert(make(every))) for every in (1, 2, 8, 9)}
    assert told == {
        1: [(key, "every of 8 layers", "2 to 8")], 2: [], 8: [], 9: [(key, "none of 8 layers", "2 to 8")]
    }  # fmt: skip


def found(context: Context) -> list[tuple[str, tuple[str, ...], str]]:
    return [(one.observed, one.at, str(one.found)) for one in declared_is_read(context) if one.found == "no effect"]


@pytest.mark.parametrize(("active", "times"), [(64, 1), (63, 0)])
def test_a_token_takes_some_of_the_experts(shipped: Shipped, active: int, times: int) -> None:
    bent = changes.model("text_pretrain", "llm", active_experts=active)(shipped("kimi_vl", "paper"))
    told = ("llm.active_experts: 64: every token takes all 64", ("modules.llm.active_experts",), "no effect")
    assert found(bent) == [told] * times


def test_a_smaller_scale_is_compared_with_the_full_one_instead(shipped: Shipped) -> None:
    bent = changes.model("text_pretrain", "llm", active_experts=8)(shipped("kimi_vl", "mini"))
    assert found(bent) == []
