"""What routed experts add to an objective: counts of tokens, the balance loss, the routers' biases."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.contract import ledger
from stages.models.moe import balanced
from stages.spec.resolved_phases import BatchStep, Router
from stages.spec.resolved_training import Piece, Schedule
from stages.train.ranks import Ranks
from stages.train.replicated import gather
from tests.unit.models.rows import documents
from tests.unit.train import tiny
from tests.unit.train.beginning import last_step, rows, setting


def test_the_router_counts_the_whole_step_once_and_a_step_starts_anew() -> None:
    stage = tiny.make("joint")
    modules, optimizer, made = setting(stage)
    lm: Any = modules["llm"]
    for step in (ledger.step_at(stage.phases[0], 0), last_step(stage)):
        gather(optimizer, made, step)
        counts = lm.router_counts()
        assert counts.dtype == torch.int64
        assert counts.sum().item() == (step.end - step.start) * tiny.MOONLIGHT.active_experts


class Beside(Ranks):
    """This rank and one whose tokens all went to the first expert."""

    def count(self, counts: Tensor) -> Tensor:
        return counts + torch.tensor([500, 0, 0, 0])


def test_a_step_balances_its_micro_batches_by_their_rows_and_all_ranks_by_their_tokens() -> None:
    """Three rows in micro-batches of two and one; two layers with experts; the biases' rate rises with this step."""
    rate = Schedule(
        name="rate",
        pieces=tuple(
            Piece(start=start, end=end, shape="constant", first=value, last=value, p0=(0, 1), p1=(1, 1))
            for start, end, value in ((0, 2 * tiny.CONTEXT, 1e-3), (2 * tiny.CONTEXT, 9 * tiny.CONTEXT, 5e-3))
        ),
    )
    phase = tiny.phase(
        "next_token", budget=9 * tiny.CONTEXT, batch=(BatchStep(after=0, sequences=3),),
        router=Router(bias_update=rate, aux_loss=0.5),
    )  # fmt: skip
    stage = tiny.stage({"llm": tiny.MOONLIGHT.model_copy(update={"layers": 3})}, (phase,), ("llm",))
    modules, optimizer, made = setting(stage)
    made.ranks = Beside(0, 1)
    step = ledger.step_at(phase, 0)
    gradients, (loss, aux_loss, overload) = gather(optimizer, made, step)
    lm: Any = modules["llm"]
    counts = lm.router_counts() + torch.tensor([500, 0, 0, 0])
    fullest = counts.amax(1) / counts.double().mean(1)
    assert overload.item() == pytest.approx(fullest.mean().item())
    parts, losses = list(rows(stage, step)), []
    aux = torch.zeros(())
    for some in (parts[:2], parts[2:]):
        tokens, positions = (torch.cat([part[i] for part in some]) for i in (0, 1))
        segments = (torch.arange(tiny.CONTEXT) >= tiny.CONTEXT // 2).int().expand(len(some), -1)
        logits = lm.logits(lm(tokens, positions, documents(segments.contiguous()), None)).flatten(0, 1)
        losses.append(F.cross_entropy(logits, torch.cat([part[3] for part in some]), reduction="none"))
        aux = aux + lm.aux_loss() * len(some) / 3
    whole = torch.cat(losses).mean() + 0.5 * aux
    assert (loss.item(), aux_loss.item()) == pytest.approx((whole.item(), aux.item()), rel=1e-5)
    torch.testing.assert_close(gradients, list(torch.autograd.grad(whole, optimizer.parameters)), rtol=1e-3, atol=1e-5)
    made.finish()
    biases = torch.stack([router.e_score_correction_bias for router in lm.routers()])
    torch.testing.assert_close(biases, balanced(torch.zeros(2, 4), counts, 5e-3))


def test_a_frozen_router_neither_counts_nor_moves() -> None:
    stage = tiny.make("align")
    modules, optimizer, made = setting(stage)
    gather(optimizer, made, ledger.step_at(stage.phases[0], 0))
    made.finish()
    lm: Any = modules["llm"]
    assert not lm.router_counts().any()
    assert all(not router.e_score_correction_bias.any() for router in lm.routers())


def test_without_a_bias_step_the_biases_stay() -> None:
    stage = tiny.make("joint")
    router = stage.phases[0].router
    assert router is not None
    still = stage.phases[0].model_copy(update={"router": router.model_copy(update={"bias_update": 0.0})})
    modules, optimizer, made = setting(stage.model_copy(update={"phases": (still,)}))
    gather(optimizer, made, ledger.step_at(still, 0))
    made.finish()
    lm: Any = modules["llm"]
    assert all(not router.e_score_correction_bias.any() for router in lm.routers())
