"""What each objective computes, held against plain formulas on whole batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.contract import ledger
from stages.contract.ledger import Step
from stages.data.sample import PairRow
from stages.errors import UserError
from stages.models.build import build
from stages.models.coca import caption_loss, embed_images, embed_texts, siglip_loss
from stages.models.moe import balanced
from stages.models.vision_packing import pack
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import BatchStep, Loops, Router
from stages.spec.resolved_training import Piece, Schedule
from stages.train.objectives.looped import exits
from stages.train.optimizer import Optimizer
from stages.train.ranks import Ranks
from stages.train.replicated import gather
from tests.families.test_gemma2 import TestGemma2 as Gemma2
from tests.unit.models.rows import documents
from tests.unit.train import tiny
from tests.unit.train.beginning import begin


def setting(stage: Stage) -> tuple[nn.ModuleDict, Optimizer, Any]:
    modules = build(stage)
    return modules, *begin(stage, modules)


def micro(stage: Stage, size: int) -> Stage:
    return stage.model_copy(update={"phases": (stage.phases[0].model_copy(update={"micro_batch": size}),)})


def last_step(stage: Stage) -> Step:
    return list(ledger.steps(stage.phases[0]))[-1]


# ---------------------------------------------------------------- accumulation


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


def rows(stage: Stage, step: Step) -> Iterator[tuple[Tensor, Tensor, Any, Tensor]]:
    """Tokens, positions and documents of each row of a step, [1, T], and its targets [T]."""
    samples = tiny.Data(stage.phases[0], 0, "", None).samples(step.first_sample, step.sequences, step.tail)
    for sample in samples:
        tokens, positions, segments = (
            torch.from_numpy(part)[None] for part in (sample.tokens, sample.positions, sample.segments)
        )
        yield tokens, positions, documents(segments), torch.from_numpy(sample.labels)


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


# ---------------------------------------------------------------- looped


def expected_loss(losses: Tensor, gates: Tensor, beta: float) -> tuple[Tensor, Tensor, Tensor]:
    """Equation 4 of arXiv 2510.25741 for each token."""
    p, entropy = exits(gates)
    return (p * losses).sum(0) - beta * entropy, entropy, p


def test_the_looped_loss_is_equation_4_token_by_token() -> None:
    torch.manual_seed(0)
    losses, gates, beta = torch.rand(3, 5), torch.randn(3, 5), 0.1
    loss, entropy, p = expected_loss(losses, gates, beta)
    for token in range(5):
        l1, l2, _ = torch.sigmoid(gates[:, token]).tolist()
        weights = [l1, (1 - l1) * l2, (1 - l1) * (1 - l2)]
        h = -sum(w * math.log(w) for w in weights)
        expected = sum(w * float(losses[loop, token]) for loop, w in enumerate(weights)) - beta * h
        assert loss[token].item() == pytest.approx(expected, rel=1e-5)
        assert entropy[token].item() == pytest.approx(h, rel=1e-5)
        assert p[:, token].tolist() == pytest.approx(weights, rel=1e-5)


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1000.0])
@pytest.mark.parametrize("loops", [1, 2, 4])
def test_entropy_stays_between_0_and_log_t_also_for_saturated_gates(scale: float, loops: int) -> None:
    torch.manual_seed(1)
    gates = (torch.randn(loops, 64) * scale).requires_grad_()
    loss, entropy, p = expected_loss(torch.rand(loops, 64, requires_grad=True), gates, 0.1)
    loss.sum().backward()
    assert entropy.min() >= -1e-6
    assert entropy.max() <= math.log(loops) + 1e-6
    torch.testing.assert_close(p.sum(0), torch.ones(64))
    if loops > 1:  # with one loop no gate is asked
        assert gates.grad is not None
        assert gates.grad.isfinite().all()


def test_the_gates_gradient_equals_finite_differences() -> None:
    torch.manual_seed(2)
    losses = torch.rand(4, 3, dtype=torch.float64, requires_grad=True)
    gates = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: expected_loss(a, b, 0.05)[0], (losses, gates))


def test_one_loop_is_the_plain_loss() -> None:
    """With T = 1 the exit is certain, its entropy 0 and the loss that of the stack."""
    stage = tiny.stage({"llm": tiny.OURO}, (tiny.phase("looped", loops=Loops(count=1, beta=0.1)),), ("llm",))
    _, optimizer, made = setting(stage)
    step = ledger.step_at(stage.phases[0], 0)
    _, values = gather(optimizer, made, step)
    loss, entropy, exit_loop, first = (value.item() for value in values)
    assert entropy == 0.0
    assert exit_loop == 1.0
    assert loss == pytest.approx(first, rel=1e-6)


@pytest.mark.parametrize("z_loss", [None, 0.25])
def test_a_looped_step_is_equation_4_of_the_models_own_losses_and_gates(z_loss: float | None) -> None:
    beta, loops = 0.1, Loops(count=3, beta=0.1)
    stage = tiny.stage({"llm": tiny.OURO}, (tiny.phase("looped", loops=loops, z_loss=z_loss),), ("llm",))
    modules, optimizer, made = setting(stage)
    lm: Any = modules["llm"]
    with torch.no_grad():  # gates that differ from token to token
        lm.model.early_exit_gate.weight.normal_(std=2.0, generator=torch.Generator().manual_seed(0))
    step = last_step(stage)
    gradients, values = gather(optimizer, made, step)
    losses, squares, gates = [], [], []
    for tokens, positions, where, labels in rows(stage, step):
        hidden, gate = lm(tokens, positions, where, None, loops.count)
        logits = [lm.logits(one)[0] for one in hidden]
        losses.append(torch.stack([F.cross_entropy(one, labels, reduction="none") for one in logits]))
        squares.append(torch.stack([one.logsumexp(-1).square() for one in logits]))
        gates.append(torch.stack(list(gate)).flatten(1))
    loss, entropy, p = expected_loss(torch.cat(losses, 1), torch.cat(gates, 1), beta)
    squared = (p * torch.cat(squares, 1)).sum(0).mean()
    whole = loss.mean() + (z_loss or 0.0) * squared
    left = (torch.tensor([[1.0], [2.0], [3.0]]) * p).sum(0)
    wanted = [whole, entropy.mean(), left.mean(), *torch.cat(losses, 1).mean(1), *([squared] if z_loss else [])]
    assert [one.item() for one in values] == pytest.approx([one.item() for one in wanted], rel=1e-5)
    assert not any(one.requires_grad for one in values), "no graph of a micro-batch is kept until the step's end"
    torch.testing.assert_close(gradients, list(torch.autograd.grad(whole, optimizer.parameters)), rtol=1e-3, atol=1e-5)


# ---------------------------------------------------------------- coca


def whole_coca(stage: Stage, modules: nn.ModuleDict, step: Step) -> Tensor:
    """L_siglip + 2 L_caption of all the step's pairs in one graph."""
    data = tiny.Data(stage.phases[0], 0, "", None)
    rows = data.pairs(step.first_sample, step.sequences, step.tail)
    pixels, grids = pack([image.pixels for row in rows for image in row.images], tiny.PATCH)
    captions = torch.cat([torch.from_numpy(row.captions) for row in rows])
    lengths = torch.cat([torch.from_numpy(row.caption_lengths) for row in rows])
    features, images = embed_images(modules, pixels, grids)
    contrastive: Any = modules["contrastive"]
    pair = siglip_loss(images, embed_texts(modules, captions), contrastive.logit_scale, contrastive.logit_bias)
    decoder: Any = modules["decoder"]
    total = caption_loss(decoder, features, grids, captions, lengths)
    return pair + 2.0 * total / (lengths - 1).sum()


def test_cached_embeddings_give_the_gradient_of_the_whole_batch() -> None:
    stage = tiny.make("coca")
    modules, optimizer, made = setting(stage)
    step = last_step(stage)
    gradients, values = gather(optimizer, made, step)
    loss = whole_coca(stage, modules, step)
    expected = torch.autograd.grad(loss, optimizer.parameters)
    assert values[0].item() == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(gradients, list(expected), rtol=1e-3, atol=1e-5)
    contrastive: Any = modules["contrastive"]
    assert values[4].item() == pytest.approx(contrastive.logit_scale.exp().item(), rel=1e-6), "temperature"
    scale = next(i for i, slot in enumerate(optimizer.slots) if slot.name == "contrastive.logit_scale")
    assert gradients[scale].abs().item() > 0


def test_rows_without_a_pair_are_in_no_micro_batch() -> None:
    """The last step's row may be cut before its first picture's end."""
    stage = tiny.make("coca")
    step, found = ledger.step_at(stage.phases[0], 0), []
    nothing = PairRow((), np.zeros((0, 6), dtype=np.int64), np.zeros(0, dtype=np.int64), ())
    for left in ([], [nothing, nothing]):
        _, optimizer, made = setting(stage)
        read = made.read
        made.read = lambda *asked, read=read, left=left: [*read(*asked)[:2], *left]
        found.append((gather(optimizer, made, step), made.begin(step)))
    assert [count for _, count in found] == [1, 1]
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=0)


def test_a_last_step_too_short_for_an_image_is_an_error_that_says_what_to_do() -> None:
    stage = tiny.make("coca")
    _, optimizer, made = setting(stage)
    nothing = PairRow((), np.zeros((0, 6), dtype=np.int64), np.zeros(0, dtype=np.int64), ())
    made.read = lambda *_: [nothing]
    said = rf"step \d+ \(patches \d+ to {stage.phases[0].budget} .*no image that fits.*a multiple of the context, 32"
    with pytest.raises(UserError, match=said):
        gather(optimizer, made, last_step(stage))


# ---------------------------------------------------------------- experts


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
