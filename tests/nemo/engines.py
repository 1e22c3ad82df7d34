"""Whole stages on this engine in forked ranks, and what they left; the torch engine's of the same stage beside it."""

from __future__ import annotations

import csv
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from stages.engines import Inputs, torch_engine, training
from stages.spec.resolved import Stage
from stages.spec.resolved_parallel import Parallel
from stages.spec.resolved_phases import Phase
from stages.train import loop
from stages.train.checkpoint import Counters
from stages.train.stepper import Stepper
from tests.nemo import ranks
from tests.nemo.traps import Patch
from tests.unit.train import tiny

ALONE = Parallel(
    tp=1, pp=1, cp=1, ep=1, vpp=1, sequence_parallel=False, distributed_optimizer=False, recompute="none"
)  # fmt: skip


EXACT = ("phase", "step", "tokens", "clock", "lr", "supervised")  # columns that no layout may move


@dataclass(frozen=True)
class Layout:
    """How many ranks, and how they divide the model."""

    ranks: int = 1
    parallel: Parallel = ALONE

    def __str__(self) -> str:
        words = [f"dp{self.ranks // self.parallel.ranks_of_a_model}"]
        for name, value in self.parallel.model_dump().items():
            if value != getattr(ALONE, name):
                words.append(name if value is True else f"{name}{value}" if isinstance(value, int) else value)
        return "-".join(words)


def layout(ranks: int = 1, **changes: Any) -> Layout:
    return Layout(ranks, ALONE.model_copy(update=changes))


def on_nemo(stage: Stage, where: Layout = Layout()) -> Stage:
    """The stage as the NeMo engine trains it."""
    changes = {"engine": "nemo", "ranks": where.ranks, "parallel": where.parallel}
    execution = stage.execution.model_copy(update=changes)
    return stage.model_copy(update={"execution": execution, "engine_class": "nemo-fp32"})


@contextmanager
def _port() -> Iterator[int]:
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(("127.0.0.1", 0))
        yield place.getsockname()[1]


def run(
    stage: Stage, inputs: Inputs, disturb: Callable[[], None] = lambda: None, seconds: float = ranks.SECONDS
) -> None:
    """Run a stage on the engine to its end; raises RankError with what the ranks raised.

    `disturb` is called in every rank before it begins, and may patch what it will.
    """
    call(stage.execution.ranks, _rank, stage, inputs, disturb, seconds=seconds)


def call(size: int, function: Callable[..., Any], *arguments: Any, seconds: float = ranks.SECONDS) -> list[Any]:
    """As `ranks.run`, for a function that meets the other ranks by itself, as the engine does."""
    with _port() as port:
        return ranks.run(size, _apart, port, function, arguments, seconds=seconds, meet=False)


def _apart(port: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    warnings.simplefilter("ignore")  # Megatron's own; this process ends with the case
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return function(*arguments)


def stopping_after(*steps: int) -> Callable[[], None]:
    """Ask the run to stop after each of these steps, as a scheduler does that wants its nodes back."""

    def disturb() -> None:
        record = loop.record

        def asking(run: loop.Run, phase: Phase, stepper: Stepper, counters: Counters, *rest: Any, **named: Any) -> None:
            record(run, phase, stepper, counters, *rest, **named)
            if counters.steps in steps:
                run.stop.ask()

        loop.record = asking

    return disturb


def _rank(stage: Stage, inputs: Inputs, disturb: Callable[[], None]) -> None:
    from stages.engines.nemo import engine

    training.PhaseData = tiny.Data  # type: ignore[misc, assignment]
    disturb()
    engine.run(stage, inputs)


@dataclass(frozen=True)
class Left:
    """What a stage left: its metrics by row, its weights, its optimizer's state."""

    rows: list[dict[str, str]]
    weights: dict[str, Tensor]
    state: dict[str, Tensor]


def by_torch(stage: Stage, folder: Path) -> Left:
    """What the torch engine makes of a stage."""
    given = tiny.inputs(folder, phases=len(stage.phases))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "PhaseData", tiny.Data)
        torch_engine.run(stage, given)
    return left(given)


def exact(one: Left) -> list[list[str]]:
    """The columns of its metrics that no layout may move."""
    return [[row[column] for column in EXACT] for row in one.rows]


def left(inputs: Inputs, ref: str = "tiny/box") -> Left:
    folder: Path = inputs.layout.stage(ref)
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    state = folder / "state" / "optimizer.safetensors"
    weights = {
        f"{file.parent.name}.{name}": tensor
        for file in sorted((folder / "model").glob("*/model.safetensors"))
        for name, tensor in load_file(file).items()
    }
    return Left(rows, weights, load_file(state))


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest relative difference in norm of any tensor."""
    assert one.keys() == other.keys()
    return max(
        float((one[name].double() - other[name].double()).norm() / other[name].double().norm().clamp(min=1e-30))
        for name in one
    )


def said(
    stage: Stage,
    where: Layout,
    folder: Path,
    kind: str,
    std: float,
    apply: Patch | None = None,
) -> set[tuple[str, str]]:
    """What there is to say before step 1 of the stage's model, and of its gradients, on each of its ranks; with weights
    of a deviation, and what `apply` changes.
    """
    modules = {"llm": stage.modules["llm"].model_copy(update={"init_std": std})}
    changes = {"modules": dict(stage.modules) | modules, "engine_class": kind}
    given = on_nemo(stage, where).model_copy(update=changes)
    return set(call(where.ranks, _built, given, tiny.inputs(folder), apply))


def _built(stage: Stage, inputs: Inputs, apply: Patch | None) -> tuple[str, str]:
    from stages.engines import place
    from stages.engines.nemo import groups
    from stages.engines.nemo.trainer import NemoTrainer
    from stages.train.determinism import denormals_flushed, deterministic

    if apply is not None:
        apply(pytest.MonkeyPatch())
    with deterministic(stage.execution), denormals_flushed(), groups.met(stage, place.of(stage)) as ranks:
        trainer = NemoTrainer(stage, inputs, ranks)
        trainer.begin()
        trainer.built()
        return trainer._other, trainer._gradients
