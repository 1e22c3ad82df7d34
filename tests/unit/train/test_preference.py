"""Preference training held against the papers' formulas, in fp64 and without chunks, and what else it promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from stages.contract import ledger
from stages.data.loading.sample import Sample
from stages.engines import torch_trainer
from stages.engines.torch_trainer import freeze
from stages.errors import UserError
from stages.models.build import build
from stages.models.ops import head
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Preference, Router
from stages.train import objectives
from stages.train.optimizer import Optimizer
from stages.train.param_groups import trained_slots
from stages.train.replicated import gather
from tests.families.test_gemma2 import TestGemma2 as Gemma2
from tests.unit.train import tiny

CPU = torch.device("cpu")
STEP = 0


class Ragged(tiny.Data):
    """Answers of several lengths, within a pair and from pair to pair."""

    def samples(self, first: int, count: int, tail: int) -> list[Sample]:
        rows = super().samples(first, count, tail)
        for number, row in enumerate(rows, first):
            for side in (0, 1):
                learned = np.flatnonzero((row.labels != -100) & (row.segments == side))
                row.labels[learned[: (number + 2 * side) % 4]] = -100
        return rows


class TwoPairs(tiny.Data):
    """Rows of two pairs: each answer cut in two."""

    def samples(self, first: int, count: int, tail: int) -> list[Sample]:
        rows = super().samples(first, count, tail)
        for row in rows:
            late = row.positions >= len(row.tokens) // 4
            row.segments[:] = 2 * row.segments + late
            row.positions[late] -= len(row.tokens) // 4
        return rows


def preferring(micro_batch: int = 2, **changes: Any) -> Stage:
    stage = tiny.make("preference")
    settings = tiny.PREFERENCE.model_copy(update=changes)
    phase = stage.phases[0].model_copy(update={"preference": settings, "micro_batch": micro_batch})
    return stage.model_copy(update={"phases": (phase,)})


def moved(modules: nn.ModuleDict, by: float) -> None:
    """A policy that is no longer its reference."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in modules.parameters():
            parameter += by * torch.randn(parameter.shape, generator=random)


def setting(stage: Stage, by: float, rows: Any = tiny.Data) -> tuple[nn.ModuleDict, nn.ModuleDict, Optimizer, Any]:
    """Policy, reference, the optimizer, and the objective."""
    modules = build(stage)
    beside = torch_trainer.frozen_copies(stage, modules)
    assert beside is not None
    assert stage.optimizer is not None
    freeze(stage, modules)
    moved(modules, by)
    optimizer = Optimizer(stage.optimizer, trained_slots(modules, stage.trained, stage.optimizer))
    data: Any = rows(stage.phases[0], 0, "", None)
    return modules, beside, optimizer, objectives.make(stage, stage.phases[0], modules, data, CPU, frozen=beside)


def computed(stage: Stage, by: float = 0.1, rows: Any = tiny.Data) -> tuple[list[Tensor], dict[str, float]]:
    """Gradients, and loss and columns by name, of the first step."""
    _, _, optimizer, objective = setting(stage, by, rows)
    gradients, values = gather(optimizer, objective, ledger.step_at(stage.phases[0], STEP))
    return gradients, dict(zip(("loss", *objective.extras), (one.item() for one in values), strict=True))


# ---------------------------------------------------------------- the formulas


def log_probability(model: Any, tokens: Tensor, labels: Tensor) -> tuple[Tensor, int]:
    """log p of the labelled tokens of one conversation, read alone, and how many they are."""
    positions = torch.arange(len(tokens))[None]
    logp = F.log_softmax(model.logits(model(tokens[None], positions, None, None))[0], dim=-1)
    learned = labels != -100
    return logp[learned].gather(1, labels[learned][:, None]).sum(), int(learned.sum())


def naive(stage: Stage, policy: Any, reference: Any, rows: Any = tiny.Data) -> tuple[Tensor, dict[str, float]]:
    """A step's loss and columns, pair by pair, as the papers have them."""
    settings = stage.phases[0].preference
    assert settings is not None
    step = ledger.step_at(stage.phases[0], STEP)
    data = rows(stage.phases[0], 0, "", None)
    losses, columns, pairs = [], [], list[list[tuple[Tensor, ...]]]()
    for row in data.samples(step.first_sample, step.sequences, step.tail):
        for first in range(0, int(row.segments.max()), 2):
            pairs.append([
                tuple(torch.from_numpy(part[row.segments == side]) for part in (row.tokens, row.labels))
                for side in (first, first + 1)
            ])  # fmt: skip
    for pair in pairs:
        ratios, likelihoods = [], []
        for tokens, labels in pair:
            (own, count), (other, _) = (log_probability(model, tokens, labels) for model in (policy, reference))
            ratios.append((own - other) / (count if settings.answers == "mean" else 1))
            likelihoods.append(own / count)
        chosen, rejected = (settings.beta * ratio for ratio in ratios)
        if settings.loss == "dpo":
            loss = -F.logsigmoid(chosen - rejected)
        else:
            loss = -torch.sigmoid(chosen) + torch.sigmoid(rejected)
        losses.append(loss - settings.nll * likelihoods[0])
        margin = (chosen - rejected).item()
        columns.append((margin, float(margin > 0), ratios[0].item(), ratios[1].item(), -likelihoods[0].item()))
    names = ("margin", "accuracy", "chosen_ratio", "rejected_ratio", "chosen_nll")
    means = {name: sum(column) / len(columns) for name, column in zip(names, zip(*columns, strict=True), strict=True)}
    return torch.stack(losses).mean(), means


@pytest.mark.parametrize("whole", [head.WHOLE, 0])  # logits at once, and in chunks
@pytest.mark.parametrize("loss", ["dpo", "apo_zero"])
@pytest.mark.parametrize(("answers", "nll"), [("sum", 0.0), ("sum", 0.2), ("mean", 0.0), ("mean", 0.2)])
def test_loss_gradients_and_columns_are_those_of_the_formulas(
    loss: str, answers: str, nll: float, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "WHOLE", whole)
    stage = preferring(loss=loss, answers=answers, nll=nll, beta=5.0 if answers == "mean" else 0.5)
    modules, beside, optimizer, objective = setting(stage, 0.1)
    gradients, values = gather(optimizer, objective, ledger.step_at(stage.phases[0], STEP))
    policy: Any = modules["llm"].double()
    expected, columns = naive(stage, policy, beside["llm"].double())
    expected.backward()
    assert values[0].item() == pytest.approx(expected.item(), rel=1e-6)
    for name, value in zip(objective.extras, values[1:], strict=True):
        assert value.item() == pytest.approx(columns[name], rel=1e-5, abs=1e-6), name
    assert ("chosen_nll" in objective.extras) == bool(nll)
    for found, parameter in zip(gradients, policy.parameters(), strict=True):
        torch.testing.assert_close(found.double(), parameter.grad, rtol=1e-4, atol=1e-7)


def test_a_step_is_the_mean_over_its_pairs_however_many_a_row_has() -> None:
    stage = preferring()
    modules, beside, _, _ = setting(stage, 0.1)
    _, found = computed(stage, rows=TwoPairs)
    expected, columns = naive(stage, modules["llm"].double(), beside["llm"].double(), TwoPairs)
    assert found == pytest.approx({"loss": expected.item(), **columns}, rel=1e-5, abs=1e-6)


@given(
    st.sampled_from(["dpo", "apo_zero"]), st.sampled_from(["sum", "mean"]), st.sampled_from([0.0, 0.3]),
    st.floats(0.05, 2), st.lists(st.tuples(st.floats(0.1, 9), st.floats(0.1, 9), st.integers(1, 9)), min_size=2)
)  # fmt: skip
def test_the_weights_of_answers_are_the_derivatives_of_the_loss(
    loss: Any, answers: Any, nll: float, beta: float, drawn: list[tuple[float, float, int]]
) -> None:
    """Also where the two answers of a pair have different lengths."""
    settings = Preference(loss=loss, beta=beta, answers=answers, turn_ends="learned", nll=nll)
    policy, reference, lengths = torch.tensor(drawn[: len(drawn) // 2 * 2], dtype=torch.float64).unbind(1)
    policy.requires_grad_()
    found = objectives.preference.of_losses(policy, reference, lengths, settings)
    (derivative,) = torch.autograd.grad(found.loss.sum(), policy)
    torch.testing.assert_close(found.weights.detach().flatten(), derivative, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("loss", "value"), [("dpo", math.log(2)), ("apo_zero", 0.0)])
@pytest.mark.parametrize("answers", ["sum", "mean"])
def test_where_policy_and_reference_are_one_every_margin_is_zero(loss: str, value: float, answers: str) -> None:
    _, found = computed(preferring(loss=loss, answers=answers, nll=0.0), by=0.0)
    assert found["loss"] == pytest.approx(value, abs=1e-7)
    assert [found[name] for name in ("margin", "accuracy", "chosen_ratio", "rejected_ratio")] == [0, 0, 0, 0]


def test_micro_batches_give_the_gradient_of_the_whole_batch() -> None:
    whole, values = computed(preferring(8), rows=Ragged)
    for size in (1, 2):
        gradients, found = computed(preferring(size), rows=Ragged)
        torch.testing.assert_close(gradients, whole, rtol=1e-4, atol=1e-6)
        assert found == pytest.approx(values, rel=1e-5, abs=1e-6)


def test_a_model_with_experts_is_balanced_too() -> None:
    stage = preferring()
    phase = stage.phases[0].model_copy(update={"router": Router(bias_update=1e-3, aux_loss=0.0)})
    routed = stage.model_copy(update={"modules": {"llm": tiny.MOONLIGHT}, "phases": (phase,)})
    modules, beside, optimizer, objective = setting(routed, 0.1)
    _, values = gather(optimizer, objective, ledger.step_at(phase, STEP))
    found = dict(zip(("loss", *objective.extras), (one.item() for one in values), strict=True))
    assert found["overload"] > 1
    assert found["aux_loss"] > 0
    step = ledger.step_at(phase, STEP)
    expected, columns = naive(routed, modules["llm"].double(), beside["llm"].double())
    assert found["loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert found["margin"] == pytest.approx(columns["margin"], rel=1e-4)
    assert step.sequences * tiny.CONTEXT * tiny.MOONLIGHT.active_experts == int(objective._counts[0].sum())


def test_capped_logits_are_capped_in_loss_gradient_and_reference() -> None:
    """The caps of this model bind."""
    stage = preferring()
    capped = stage.model_copy(update={"modules": {"llm": Gemma2.MODEL.model_copy(update={"vocab": tiny.VOCAB})}})
    modules, beside, optimizer, objective = setting(capped, 0.3, Ragged)
    gradients, values = gather(optimizer, objective, ledger.step_at(stage.phases[0], STEP))
    policy: Any = modules["llm"].double()
    expected, columns = naive(capped, policy, beside["llm"].double(), Ragged)
    expected.backward()
    assert values[0].item() == pytest.approx(expected.item(), rel=1e-5)
    assert dict(zip(objective.extras, map(float, values[1:]), strict=True)) == pytest.approx(columns, rel=1e-3)
    for found, parameter in zip(gradients, policy.parameters(), strict=True):
        torch.testing.assert_close(found.double(), parameter.grad, rtol=1e-3, atol=1e-5)


def test_the_reference_takes_no_gradient_and_moves_with_nothing() -> None:
    stage = preferring()
    modules, beside, optimizer, objective = setting(stage, 0.1)
    before = {name: tensor.clone() for name, tensor in beside.state_dict().items()}
    step = ledger.step_at(stage.phases[0], STEP)
    gradients, _ = gather(optimizer, objective, step)
    optimizer.step(optimizer.clip(gradients), 0.1, step.end)
    assert all(not parameter.requires_grad and parameter.grad is None for parameter in beside.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in beside.state_dict().items())
    assert not any(torch.equal(before[name], tensor) for name, tensor in modules.state_dict().items())


def test_an_answer_without_a_target_is_refused_with_its_document() -> None:
    stage = preferring(turn_ends="masked")
    (row,) = tiny.Data(stage.phases[0], 0, "", None).samples(0, 1, 0)
    row.labels[row.segments == 1] = -100
    named = row.__class__(**{**vars(row), "spans": (("pairs", 6, 0, 32),)})
    with pytest.raises(UserError, match=r"corpus pairs, document 7: an answer has no token but .*turn_ends: learned"):
        objectives.preference.answers(named)


def test_settings_are_all_written() -> None:
    with pytest.raises(ValueError, match="nll"):
        Preference.model_validate({"loss": "dpo", "beta": 0.1, "answers": "sum", "turn_ends": "learned"})
