"""The same stage from the same weights on both engines: losses, norms, gradients and weights beside each other.

A model has a row in `CASES`: its stage, the layouts in which it is trained, and what may differ. To add a family, add a
row. `tests.nemo.record` writes the table of all rows; tests/nemo/test_parity.py keeps each to its figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.contract import ledger, schedule
from stages.engines import Inputs
from stages.engines.torch_trainer import TorchTrainer
from stages.engines.trainer import Trainer
from stages.models import build
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Model
from stages.spec.resolved_phases import Loops, Router
from stages.train.determinism import denormals_flushed, deterministic
from stages.train.ranks import ALONE
from stages.train.replicated import Replicated
from tests.nemo import engines
from tests.nemo.engines import Layout, layout
from tests.nemo.step_case import worst
from tests.unit.train import tiny

STEPS = 10  # the last of which is a partial one
LAYERS = {"layers": 4, "hidden": 32, "ffn": 48, "heads": 4, "kv_heads": 2, "head_dim": 8}
BUDGET = (
    4 * 4 + 5 * 8 + 5
) * tiny.CONTEXT + tiny.CONTEXT // 2  # steps of four rows, of eight, and one of five and a half


@dataclass(frozen=True)
class Figures:
    """What may differ from the torch engine: relative differences; of tensors in norm, of the worst one."""

    loss: float = 1e-6  # of the first step
    gradient: float = 2e-6  # of the first step
    losses: float = 5e-6  # of any step
    weights: float = 2e-5  # after the last step


@dataclass(frozen=True)
class Case:
    """A model in several layouts."""

    name: str
    stage: Stage
    layouts: tuple[Layout, ...]
    figures: Figures = field(default_factory=Figures)
    noise: float = 0.0  # > 0: no loss is further off than twice what this relative noise in the gradients makes of it


@dataclass(frozen=True)
class Course:
    """What training came to: a number for each step, gradients of the first, weights after the last."""

    losses: list[float]
    norms: list[float]
    columns: list[list[float]]
    gradients: dict[str, Tensor]
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Difference:
    """Two courses beside each other, in the terms of `Figures`, and the tensors that differ most."""

    loss: float
    gradient: float
    losses: float
    weights: float
    norms: float
    columns: float
    where: tuple[str, str]

    def within(self, figures: Figures) -> bool:
        """Whether every figure is kept; norms and the objective's own columns by the losses' figure."""
        return (
            self.loss <= figures.loss
            and self.gradient <= figures.gradient
            and max(self.losses, self.norms, self.columns) <= figures.losses
            and self.weights <= figures.weights
        )


def llama(**changes: Any) -> Stage:
    """Llama under AdamW, ten steps with a batch ramp."""
    cfg = tiny.LLAMA.model_copy(update=LAYERS)
    return tiny.stage({"llm": cfg}, (tiny.phase("next_token", budget=BUDGET),), ("llm",), **changes)


def routed(*modules: str) -> Stage:
    """Moonlight under Muon, alone or with tower and projector, ten steps with a batch ramp.

    AdamW's epsilon is above rounding for the tower: a bias of keys adds the same to all scores of a query but for the
    rotary turn, so its gradients nearly cancel (5e-8 an element). Under 1e-8 AdamW makes steps of their rounding: that
    bias alone is then 1.6e-5 off, and everything else 2e-6 (tower and projector themselves are bit-equal).
    """
    cfg = tiny.MOONLIGHT.model_copy(update={"layers": 4, "hidden": 32, "ffn": 48, "heads": 4})
    vision: dict[str, Model] = {"vit": tiny.VIT, "projector": tiny.PROJECTOR.model_copy(update={"llm_hidden": 32})}
    router = Router(bias_update=1e-3, aux_loss=1e-4)
    phase = tiny.phase("joint" if modules else "next_token", router=router, budget=BUDGET)
    optimizer = tiny.MUON.model_copy(update={"eps": 1e-6}) if modules else tiny.MUON
    return tiny.stage(
        {"llm": cfg} | {name: vision[name] for name in modules}, (phase,), ("llm", *modules), optimizer=optimizer
    )


def ouro() -> Stage:
    """Three loops with a gate; Core's pipeline ranks do not divide its layers."""
    cfg = tiny.OURO.model_copy(update=LAYERS | {"layers": 2})
    return tiny.stage({"llm": cfg}, (tiny.phase("looped", budget=BUDGET, loops=Loops(count=3, beta=0.1)),), ("llm",))


def preferring(stage: Stage) -> Stage:
    """The same model on pairs of answers: what it begins with is its reference."""
    (phase,) = stage.phases
    changes = {"objective": "preference", "packing": "whole", "preference": tiny.PREFERENCE}
    return stage.model_copy(update={"phases": (phase.model_copy(update=changes),)})


LAYOUTS = (
    layout(),
    layout(2),
    layout(2, tp=2),
    layout(2, pp=2),
    layout(2, cp=2),
    layout(4, tp=2),
    layout(2, distributed_optimizer=True),
    layout(2, tp=2, sequence_parallel=True),
    layout(2, pp=2, vpp=2),
)
UNDECAYED = tiny.ADAMW.model_copy(update={"decay": "matrices", "clip": None})
WHOLE = tuple(one for one in LAYOUTS if not one.parallel.distributed_optimizer)  # matrices, which Muon needs
ROUTED = (
    layout(),
    layout(2),
    layout(2, tp=2, sequence_parallel=True),
    layout(2, pp=2),
    layout(2, cp=2),
    layout(2, ep=2),
    layout(4, tp=2, ep=2, sequence_parallel=True),
    layout(4, pp=2, ep=2),
    layout(4, tp=2, cp=2, sequence_parallel=True),
    layout(2, pp=2, vpp=2),
)
PAIRS = (
    layout(),
    layout(2),
    layout(2, tp=2, sequence_parallel=True),
    layout(2, cp=2),
    layout(2, pp=2, vpp=2),
    layout(4, cp=2, distributed_optimizer=True),
)
LOOPS = (layout(), layout(2), layout(2, tp=2), layout(2, cp=2), layout(4, tp=2))
CASES = [
    Case("Llama", llama(), LAYOUTS),
    Case("Llama, norms not decayed, no clip", llama(optimizer=UNDECAYED), LAYOUTS[:1]),
    Case("Llama under Muon", llama(optimizer=tiny.MUON), WHOLE),
    Case("Moonlight", routed(), ROUTED, noise=1e-7),
    Case("Ouro", ouro(), LOOPS),
    Case("Kimi-VL", routed("vit", "projector"), ROUTED, noise=1e-7),
    Case("Llama, preferences", preferring(llama()), PAIRS),
    Case("Moonlight, preferences", preferring(routed()), (layout(2, cp=2), layout(4, pp=2, ep=2)), noise=1e-7),
]


def by_torch(stage: Stage, inputs: Inputs, noise: float = 0.0, seed: int = 0) -> Course:
    """On this process, with relative normal noise on every element of the gradients that update the weights."""
    drawn = torch.Generator().manual_seed(seed)

    def gradients(stepper: Replicated) -> dict[str, Tensor]:
        clipped, found = stepper._clipped, dict[str, Tensor]()
        assert clipped is not None
        for slot, gradient in zip(trainer._optimizer.slots, clipped.gradients, strict=True):
            found[slot.name] = gradient * (1.0 if clipped.factor is None or slot.muon else clipped.factor)
            if noise:
                gradient.mul_(1 + noise * torch.randn(gradient.shape, generator=drawn))
        return found

    with deterministic(stage.execution), denormals_flushed():
        trainer = TorchTrainer(stage, inputs, ALONE)
        trainer.begin()
        return _course(stage, trainer, gradients)


def by_nemo(stage: Stage, inputs: Inputs) -> Course | None:
    """On one of the stage's ranks; the first has the numbers."""
    from stages.engines import place
    from stages.engines.nemo import groups
    from stages.engines.nemo.trainer import NemoTrainer
    from stages.guards import run as guards

    with deterministic(stage.execution), denormals_flushed(), groups.met(stage, place.of(stage)) as group:
        trainer = NemoTrainer(stage, inputs, group)
        trainer.begin()
        report = trainer.built()
        if report is not None:
            guards.check_start(stage, report)
        trained = dict(build.build(stage, "meta").named_parameters())
        found = _course(stage, trainer, lambda _: dict(trainer._gathering().gradients(trained)))
        return found if group.first else None


def _course(stage: Stage, trainer: Trainer, gradients: Callable[[Any], dict[str, Tensor]]) -> Course:
    """Train; `gradients` gives a step's, by name, on the rank that has them."""
    (phase,) = stage.phases
    data: Any = tiny.Data(phase, stage.seed, "", Path())
    stepper = trainer.stepper(phase, data)
    rows, each = [], []
    for step in list(ledger.steps(phase))[:STEPS]:
        rows.append(stepper.gradients(step))
        each.append(gradients(stepper))
        del each[1:]
        assert stage.schedule is not None
        clock = phase.clock_start + step.end
        stepper.update(schedule.lr(stage.schedule, clock), clock)
    stepper.close()
    modules = trainer.trained()
    weights = {} if modules is None else dict(modules.state_dict())
    return Course([r[0] for r in rows], [r[1] for r in rows], [r[2:] for r in rows], each[0], weights)


def noisy(case: Case, inputs: Inputs, wanted: Course) -> float:
    """The largest difference in any loss that a case's noise makes on the torch engine itself; 0 without noise."""
    drawn = (by_torch(case.stage, inputs, case.noise, seed) for seed in range(4 if case.noise else 0))
    return max((difference(one, wanted).losses for one in drawn), default=0.0)


def measured(stage: Stage, where: Layout, folder: Path, seconds: float = 60.0) -> Course:
    """The stage on new ranks in this layout."""
    found = engines.call(where.ranks, by_nemo, engines.on_nemo(stage, where), tiny.inputs(folder), seconds=seconds)[0]
    assert isinstance(found, Course)
    return found


def difference(found: Course, wanted: Course) -> Difference:
    """Relative to what is wanted."""
    gradient, weights = worst(found.gradients, wanted.gradients), worst(found.weights, wanted.weights)
    losses = [_relative(a, b) for a, b in zip(found.losses, wanted.losses, strict=True)]
    norms = [_relative(a, b) for a, b in zip(found.norms, wanted.norms, strict=True)]
    columns = [_of_a_column(*pair) for pair in zip(_turned(found.columns), _turned(wanted.columns), strict=True)]
    where = gradient[1], weights[1]
    return Difference(losses[0], gradient[0], max(losses), weights[0], max(norms), max(columns, default=0.0), where)


def _turned(steps: list[list[float]]) -> list[tuple[float, ...]]:
    return list(zip(*steps, strict=True))


def _of_a_column(found: Sequence[float], wanted: Sequence[float]) -> float:
    """The worst step, of the column's largest value: a margin begins at 0."""
    worst = max(abs(a - b) for a, b in zip(found, wanted, strict=True))
    return worst / max(map(abs, wanted)) if worst else 0.0


def _relative(found: float, wanted: float) -> float:
    return abs(found - wanted) / abs(wanted)
