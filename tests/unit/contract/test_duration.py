"""How long a phase takes: work at the rate that is reached, launches of blocks, and steps."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from stages.contract import duration
from stages.contract.cost_phase import operations
from stages.contract.hardware import Hardware
from stages.spec.families.llama import LlamaModel
from stages.spec.families.ouro import OuroModel
from stages.spec.resolved_phases import Loops, Phase
from tests.unit.contract._make import phase, source

SHAPE: dict[str, Any] = {
    "hidden": 8, "ffn": 16, "heads": 2, "kv_heads": 1, "head_dim": 4, "vocab": 32, "norm_eps": 1e-5, "tied": False,
    "init_std": 0.02,
}  # fmt: skip
LLAMA = LlamaModel(family="llama", layers=3, **SHAPE)
OURO = OuroModel(family="ouro", layers=5, post_norm_gain=1.0, **SHAPE)
BARE = SimpleNamespace(family="projector")
# 43 units in sequences of 8, two a step: two full steps, and one of two sequences of which the last is cut.
PHASE = phase(budget=43, context=8, batch=((0, 2),), sources=(source(1),))
SLOW = Hardware(
    name="slow", title="", device="cpu", peak=1000, mfu=0.5, memory=10**9, runtime=0, per_node=None, disk=10**9,
    block_ms=7.0, step_ms=100.0, side=Fraction(1, 2), positions=Fraction(1, 2), sources=(),
)  # fmt: skip


def stage(ranks: int = 1, **modules: Any) -> Any:
    execution = SimpleNamespace(ranks=ranks, parallel=None, device="cpu")
    return SimpleNamespace(ref="p/s", modules=modules, trained=tuple(modules), execution=execution)


def overhead(modules: dict[str, Any], of: Phase = PHASE) -> float:
    """Seconds beside work, which is none here."""
    return duration.device_seconds(stage(**modules), of, SLOW, 0.0, {})


def test_work_is_done_at_the_share_of_the_peak_that_is_reached() -> None:
    assert duration.device_seconds(stage(llm=LLAMA), PHASE, SLOW, 1000.0, {}) == 1000.0 / 500 + overhead({"llm": LLAMA})


def test_every_block_of_every_micro_batch_is_launched_and_every_step_ended() -> None:
    # Six micro-batches of one sequence, the cut one included, in three steps.
    assert overhead({"llm": LLAMA}) == (6 * 3 * 7 + 3 * 100) / 1000


@pytest.mark.parametrize(("micro", "passes"), [(1, 10 + 3), (2, 2 * 3 + 2), (3, 2 * 2 + 1), (5, 2 + 1)])
def test_the_last_micro_batch_of_a_step_may_be_smaller(micro: int, passes: int) -> None:
    of = phase(budget=8 * (5 + 5 + 3), context=8, batch=((0, 5),)).model_copy(update={"micro_batch": micro})
    assert overhead({"llm": LLAMA}, of) == pytest.approx((passes * 3 * 7 + 3 * 100) / 1000)


def test_a_phase_of_full_steps_alone() -> None:
    assert overhead({"llm": LLAMA}, phase(budget=32, context=8)) == (4 * 3 * 7 + 2 * 100) / 1000


def test_a_looped_model_runs_its_layers_once_a_loop_and_others_once() -> None:
    looped = PHASE.model_copy(update={"loops": Loops(count=4, beta=0.1)})
    assert overhead({"llm": OURO}) == pytest.approx((6 * 5 * 7 + 3 * 100) / 1000)
    assert overhead({"llm": OURO}, looped) == pytest.approx((6 * 5 * 4 * 7 + 3 * 100) / 1000)
    assert overhead({"llm": LLAMA}, looped) == pytest.approx((6 * 3 * 7 + 3 * 100) / 1000)


def test_a_module_without_layers_is_one_block() -> None:
    assert overhead({"llm": LLAMA, "projector": BARE}) == pytest.approx((6 * (3 + 1) * 7 + 3 * 100) / 1000)


def test_ranks_share_a_step() -> None:
    alone, four = stage(llm=LLAMA), stage(ranks=4, llm=LLAMA)
    whole = duration.device_seconds(alone, PHASE, SLOW, operations(alone, PHASE, SLOW.assumed({})), {})
    assert duration.step_seconds(alone, PHASE, SLOW, {}) == whole / 3
    assert duration.step_seconds(four, PHASE, SLOW, {}) == whole / 4 / 3


def test_short_documents_make_a_step_shorter() -> None:
    one = stage(llm=LLAMA)
    assert duration.step_seconds(one, PHASE, SLOW, {"prose": 1.0}) < duration.step_seconds(one, PHASE, SLOW, {})


def test_a_mean_length_is_known_of_corpora_of_tokens_whose_documents_are_counted() -> None:
    corpora = {
        "prose": SimpleNamespace(unit="tokens", size=1000, documents=8),
        "pairs": SimpleNamespace(unit="pairs", size=1000, documents=8),
        "web": SimpleNamespace(unit="tokens", size=10**12, documents=None),
    }
    loaded: Any = SimpleNamespace(corpora=corpora)
    assert duration.document_lengths(loaded) == {"prose": 125.0}
