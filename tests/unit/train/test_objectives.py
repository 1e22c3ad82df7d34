"""What each objective computes, held against plain formulas on whole batches: next tokens and answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stages.contract import ledger
from stages.errors import UserError
from stages.spec.resolved import Stage
from stages.train.replicated import gather
from tests.families.test_gemma2 import TestGemma2 as Gemma2
from tests.unit.models.rows import documents
from tests.unit.train import tiny
from tests.unit.train.beginning import last_step, rows, setting


def micro(stage: Stage, size: int) -> Stage:
    return stage.model_copy(update={"phases": (stage.phases[0].model_copy(update={"micro_batch": size}),)})


@pytest.mark.parametrize("objective", ["next_token", "looped", "coca", "align", "sft"])
@pytest.mark.parametrize("which", ["first", "last"])
def test_micro_batches_give_the_gradient_of_the_whole_batch(objective: str, which: str) -> None:
    """For joint it does not hold by design: the auxiliary loss belongs to a micro-batch."""
    found = []
    for size in (1, 2, 8):
        stage = micro(tiny.make(objective), size)
        _, optimizer, made = setting(stage)
        step = ledger.step_at(stage.phases[0], 0) if which == "first" else last_step(stage)
        found.append(gather(optimizer, made, step))
    for gradients, values in found[1:]:
        torch.testing.assert_close(values, found[0][1], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradients, found[0][0], rtol=1e-3, atol=1e-5)


def test_sft_counts_and_learns_answers_only() -> None:
    stage = tiny.make("sft")
    modules, optimizer, made = setting(stage)
    step = last_step(stage)
    gradients, (loss,) = gather(optimizer, made, step)
    samples = tiny.Data(stage.phases[0], 0, "", None).samples(step.first_sample, step.sequences, step.tail)
    lm: Any = modules["llm"]
    total, count = torch.zeros(()), 0
    for sample in samples:
        tokens, positions, segments, labels = (
            torch.from_numpy(part)[None] for part in (sample.tokens, sample.positions, sample.segments, sample.labels)
        )
        logits = lm.logits(lm(tokens, positions, documents(segments), None))
        total = total + F.cross_entropy(logits[0], labels[0], ignore_index=-100, reduction="sum")
        count += int((labels != -100).sum())
    assert made.supervised() == count
    assert loss.item() == pytest.approx(total.item() / count, rel=1e-5)
    expected = torch.autograd.grad(total / count, optimizer.parameters)
    torch.testing.assert_close(gradients, list(expected), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("z_loss", [None, 0.0])
def test_capped_logits_are_capped_in_the_loss(z_loss: float | None) -> None:
    """The caps of this model bind; with a z-loss the loss is computed by other code."""
    stage = tiny.make("next_token")
    phase = stage.phases[0].model_copy(update={"z_loss": z_loss})
    model = Gemma2.MODEL.model_copy(update={"vocab": tiny.VOCAB})
    capped = stage.model_copy(update={"modules": {"llm": model}, "phases": (phase,)})
    modules, optimizer, made = setting(capped)
    with torch.no_grad():
        modules["llm"].head.normal_(std=2.0, generator=torch.Generator().manual_seed(0))
    step = ledger.step_at(phase, 0)
    _, values = gather(optimizer, made, step)
    lm: Any = modules["llm"]
    losses = []
    for sample in tiny.Data(phase, 0, "", None).samples(step.first_sample, step.sequences, step.tail):
        tokens, positions, segments, labels = (
            torch.from_numpy(part)[None] for part in (sample.tokens, sample.positions, sample.segments, sample.labels)
        )
        logits = lm.logits(lm(tokens, positions, documents(segments), None))
        assert logits.abs().max() <= 1.5
        losses.append(F.cross_entropy(logits[0], labels[0], ignore_index=-100, reduction="none"))
    assert values[0].item() == pytest.approx(torch.cat(losses).mean().item(), rel=1e-4)


def test_a_last_sequence_that_is_cut_is_counted_as_cut() -> None:
    stage = tiny.make("next_token")
    _, optimizer, made = setting(stage)
    step = last_step(stage)
    gather(optimizer, made, step)
    assert made.supervised() == step.end - step.start


def test_a_step_without_an_answer_is_an_error() -> None:
    stage = tiny.make("sft")
    _, optimizer, made = setting(stage)
    read = made.read
    made.read = lambda *asked: [replace(row, labels=np.full_like(row.labels, -100)) for row in read(*asked)]
    with pytest.raises(UserError, match=r"step 1 \(samples 0 to \d+\) has no answer to learn from"):
        gather(optimizer, made, next(ledger.steps(stage.phases[0])))


def test_a_step_without_a_target_in_text_has_loss_0_and_moves_nothing() -> None:
    stage = tiny.make("next_token")
    _, optimizer, made = setting(stage)
    read = made.read
    made.read = lambda *asked: [replace(row, labels=np.full_like(row.labels, -100)) for row in read(*asked)]
    gradients, (loss,) = gather(optimizer, made, ledger.step_at(stage.phases[0], 0))
    assert (loss.item(), made.supervised()) == (0.0, 0)
    assert not any(gradient.any() for gradient in gradients)


def test_a_z_loss_is_a_multiple_of_the_mean_square_of_log_z() -> None:
    stage = tiny.make("next_token")
    stage = stage.model_copy(update={"phases": (stage.phases[0].model_copy(update={"z_loss": 0.25}),)})
    modules, optimizer, made = setting(stage)
    step = last_step(stage)
    gradients, (loss, squared) = gather(optimizer, made, step)
    lm: Any = modules["llm"]
    losses, squares = [], []
    for tokens, positions, where, labels in rows(stage, step):
        logits = lm.logits(lm(tokens, positions, where, None))[0]
        losses.append(F.cross_entropy(logits, labels, reduction="none"))
        squares.append(logits.logsumexp(-1).square())
    square = torch.cat(squares).mean()
    whole = torch.cat(losses).mean() + 0.25 * square
    assert (loss.item(), squared.item()) == pytest.approx((whole.item(), square.item()), rel=1e-5)
    torch.testing.assert_close(gradients, list(torch.autograd.grad(whole, optimizer.parameters)), rtol=1e-3, atol=1e-5)


def test_a_z_loss_at_a_weight_of_0_adds_nothing_and_its_column_is_0() -> None:
    """A schedule may begin or end there: log(Z) is not computed."""
    stage = tiny.make("next_token")
    at_0 = stage.model_copy(update={"phases": (stage.phases[0].model_copy(update={"z_loss": 0.0}),)})
    step = last_step(stage)
    (plain, (loss,)), (same, (same_loss, squared)) = (gather(*setting(one)[1:], step) for one in (stage, at_0))
    assert (same_loss.item(), squared.item()) == (pytest.approx(loss.item(), rel=1e-6), 0.0)
    torch.testing.assert_close(same, plain, rtol=1e-5, atol=1e-7)
