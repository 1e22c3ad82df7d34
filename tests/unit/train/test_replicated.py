"""A step of the torch engine on an objective whose gradients are written out: what is added, handed on, and when."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stages.contract import ledger
from stages.contract.ledger import Step
from stages.engines.torch_trainer import freeze, frozen_copies
from stages.models.build import build
from stages.spec.resolved import Stage
from stages.train import objectives, replicated
from stages.train.optimizer import Clipped, Optimizer
from stages.train.param_groups import trained_slots
from stages.train.ranks import Ranks
from stages.train.reduce import Gradients, TreeSum
from stages.train.replicated import Replicated, gather
from tests.unit.train import tiny

STEP = ledger.step_at(tiny.phase("next_token"), 0)
# Of each micro-batch: by what it multiplies each of three weights, None where it does not touch one.
PARTS = ((1.0, None, None), (2.0, 30.0, None), (None, None, None))


class Written:
    """An objective whose micro-batches and whole batch have the gradients that are written here."""

    stage = tiny.make("next_token")
    extras: tuple[str, ...] = ("each", "whole")

    def __init__(self, weights: list[nn.Parameter], said: list[Any], whole: Gradients | None = None) -> None:
        self._weights, self._said, self._whole = weights, said, whole

    def begin(self, step: Step) -> int:
        self._said.append("begin")
        return len(PARTS)

    def part(self, index: int) -> tuple[Tensor, list[Tensor]]:
        self._said.append(index)
        products = [by * weight for by, weight in zip(PARTS[index], self._weights, strict=True) if by is not None]
        return sum(products, start=torch.tensor(index + 1.0)), [torch.tensor(10.0 * index), torch.zeros(())]

    def whole_batch(self) -> Gradients | None:
        return self._whole

    def whole_values(self) -> dict[str, Tensor]:
        return {"whole": torch.tensor(7.0)}

    def supervised(self) -> int:
        return 5

    def finish(self) -> None:
        self._said.append("finish")

    def close(self) -> None:
        self._said.append("close")


class Sums:
    """Checksums that note what gradients they are of."""

    def __init__(self) -> None:
        self.of: list[list[float]] = []

    def take(self, step: Step, gradients: list[Tensor]) -> None:
        self.of.append([float(one) for one in gradients])

    def found(self) -> dict[str, str]:
        return {"rows": "a"}


def made() -> tuple[Optimizer, list[nn.Parameter]]:
    """Three weights of 0 that move by their clipped gradient's sign; the clip is at a norm of 1."""
    weights = [nn.Parameter(torch.zeros(())) for _ in range(3)]
    module = nn.Module()
    for number, weight in enumerate(weights):
        module.register_parameter(f"w{number}", weight)
    return Optimizer(tiny.ADAMW, trained_slots(nn.ModuleDict({"llm": module}), ("llm",), tiny.ADAMW)), weights


def test_gradients_of_all_micro_batches_are_added_and_what_none_touches_has_zero() -> None:
    optimizer, weights = made()
    gradients, values = gather(optimizer, Written(weights, []), STEP)
    assert [float(one) for one in gradients] == [3.0, 30.0, 0.0]
    assert [float(one) for one in values] == [6.0, 30.0, 7.0], "loss, then the extras in their order"
    assert all(weight.grad is None for weight in weights), "nothing is left for the next step"


def begun(stage: Stage) -> tuple[Optimizer, Any]:
    """The first phase's objective on new models, and what moves them."""
    modules = build(stage)
    beside = frozen_copies(stage, modules)
    freeze(stage, modules)
    assert stage.optimizer is not None
    data: Any = tiny.Data(stage.phases[0], 0, "", None)
    optimizer = Optimizer(stage.optimizer, trained_slots(modules, stage.trained, stage.optimizer))
    return optimizer, objectives.make(stage, stage.phases[0], modules, data, torch.device("cpu"), frozen=beside)


@pytest.mark.parametrize("objective", [*tiny.OBJECTIVES, "moe"])
@pytest.mark.parametrize("engine_class", ["torch-fp32", "torch-bf16"])
def test_a_second_backward_pass_adds_the_bits_that_the_tree_would_have_added(objective: str, engine_class: str) -> None:
    """Seven micro-batches: two by two, and one that is alone."""
    stage = tiny.make(objective)
    phase = stage.phases[0].model_copy(update={"micro_batch": 1, "batch": (tiny.BatchStep(after=0, sequences=7),)})
    stage = stage.model_copy(update={"phases": (phase,), "engine_class": engine_class})
    step = ledger.step_at(phase, 0)
    found, values = gather(*begun(stage), step)

    optimizer, apart = begun(stage)
    tree = TreeSum()
    assert apart.begin(step) == 7
    for index in range(7):
        loss, extras = apart.part(index)
        if loss.requires_grad:
            loss.backward()
        gradients = [parameter.grad for parameter in optimizer.parameters]
        tree.add([*gradients, *(one.detach().float() for one in (loss, *extras))])
        for parameter in optimizer.parameters:
            parameter.grad = None
    total = tree.result()
    assert total is not None
    parts, on_top = total[: len(found)], apart.whole_batch() or [None] * len(found)
    both = [replicated._add(part, top) for part, top in zip(parts, on_top, strict=True)]
    wanted = [torch.zeros_like(own) if one is None else one for own, one in zip(found, both, strict=True)]
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    known = apart.whole_values()
    for name, value, wanted_value in zip(("loss", *apart.extras), values, total[len(found) :], strict=True):
        assert name in known or (wanted_value is not None and torch.equal(value, wanted_value)), name


def test_what_only_the_whole_batch_has_comes_on_top() -> None:
    optimizer, weights = made()
    whole: Gradients = [torch.tensor(100.0), None, torch.tensor(5.0)]
    gradients, _ = gather(optimizer, Written(weights, [], whole), STEP)
    assert [float(one) for one in gradients] == [103.0, 30.0, 5.0]


def test_no_objective_makes_a_step_without_a_micro_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer, weights = made()
    monkeypatch.setattr(Written, "begin", lambda self, step: 0)
    with pytest.raises(AssertionError, match="a step without micro-batches"):
        gather(optimizer, Written(weights, []), STEP)


def test_the_norm_is_that_of_before_the_clip_and_so_are_the_checksums() -> None:
    said, sums = list[Any](), Sums()
    optimizer, weights = made()
    stepper = Replicated(optimizer, Written(weights, said), sums=sums)  # type: ignore[arg-type]
    loss, norm, *extras = stepper.gradients(STEP)
    assert [loss, norm, *extras] == pytest.approx([6.0, 909**0.5, 30.0, 7.0])
    assert sums.of == [[3.0, 30.0, 0.0]]
    assert (stepper.supervised(), stepper.checksums()) == (5, {"rows": "a"})
    assert [weight.item() for weight in weights] == [0.0, 0.0, 0.0], "nothing has moved"
    stepper.update(0.25, clock=STEP.end)
    assert [weight.item() for weight in weights] == pytest.approx([-0.25, -0.25, 0.0], rel=1e-5)
    stepper.close()
    assert said == ["begin", 0, 1, 2, "finish", "close"]


def test_gradients_of_a_skipped_step_are_gone_when_the_next_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer, weights = made()
    alive: list[weakref.ref[Tensor]] = []
    clip = optimizer.clip

    def seen(gradients: Sequence[Tensor]) -> Clipped:
        alive.extend(map(weakref.ref, gradients))
        return clip(gradients)

    def begin(self: Written, step: Step) -> int:
        assert not any(one() is not None for one in alive)
        return len(PARTS)

    monkeypatch.setattr(optimizer, "clip", seen)
    monkeypatch.setattr(Written, "begin", begin)
    stepper = Replicated(optimizer, Written(weights, []))
    for _ in range(2):
        stepper.gradients(STEP)
    assert len(alive) == 2 * len(weights)


@pytest.mark.parametrize("size", range(1, 10))
def test_every_micro_batch_is_one_ranks_in_their_order(size: int) -> None:
    ranks = [Ranks(rank, size) for rank in range(size)]
    assert [index for rank in ranks for index in rank.share(11)] == list(range(11))
    assert {rank.exact for rank in ranks} == {size in (1, 2, 4, 8)}, "has the bits of one process"
    if size not in (1, 2, 4, 8):
        assert {len(rank.share(11)) for rank in ranks} == {11 // size, 11 // size + 1}
