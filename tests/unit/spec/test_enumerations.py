"""A value that is added to an enumeration and forgotten where it is dispatched is an error: it is never another value.

Which code has to know it is said by mypy before anything runs: every dispatch ends in `assert_never`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from torch import nn

from stages.commands import hand_over
from stages.contract import cost_coca, curve, hardware, memory, parameters, schedule
from stages.models import build
from stages.plan import table
from stages.spec.frozen import Frozen
from stages.spec.project import Project
from stages.spec.resolved import Init, Stage
from stages.spec.resolved_models import ProjectorModel
from stages.spec.resolved_parallel import computes_in_bf16, engine_of
from stages.spec.resolved_training import Piece, Schedule
from stages.spec.schedule_layout import Laid
from stages.train import objectives, optimizer, param_groups
from tests.mutants.mutant import ROOT

NEW = "unheard_of"
LITERAL = re.compile(r'Literal\[("[^\]]*")\]')

# Where the value of an enumeration decides what is done: mypy has to name each file.
DISPATCHES = {
    "stages/commands/hand_over.py": 3,  # weights, clock, data
    "stages/contract/cost_coca.py": 1,
    "stages/contract/parameters.py": 1,
    "stages/contract/curve.py": 1,
    "stages/contract/schedule.py": 1,
    "stages/engines/received.py": 1,
    "stages/engines/torch_engine.py": 1,
    "stages/models/build.py": 2,
    "stages/contract/hardware.py": 2,
    "stages/contract/memory.py": 1,
    "stages/contract/memory_engine.py": 2,  # devices
    "stages/contract/memory_states.py": 1,
    "stages/contract/memory_layers.py": 2,  # kinds of layers, their numbers
    "stages/plan/table.py": 1,
    "stages/spec/hand_over.py": 2,  # clock, data
    "stages/spec/resolved.py": 2,  # activations, determinism
    "stages/spec/resolved_parallel.py": 3,  # engine classes, recompute
    "stages/engines/nemo/config/model.py": 1,
    "stages/spec/resolved_phases.py": 1,
    "stages/spec/schema/data.py": 2,  # corpora, releases
    "stages/spec/stretches.py": 1,
    "stages/spec/schedule_layout.py": 2,
    "stages/models/common.py": 1,
    "stages/train/objectives/__init__.py": 1,
    "stages/train/param_groups.py": 1,
}

F = TypeVar("F", bound=Frozen)


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Project.load(ROOT).resolve("llama31_1m", "mini").stages["cpt_256k"]


def other(value: Any, **fields: object) -> Any:
    """The same value with fields that its class does not allow."""
    return value.model_copy(update=fields)


def construct(kind: type[F], **fields: Any) -> F:
    """Of fields that the class does not allow, and only of those that are read."""
    anything: Any = kind
    made: F = anything.model_construct(**fields)
    return made


def piece(shape: str) -> Schedule:
    made = construct(Piece, shape=shape, start=0, end=8, first=1.0, last=0.5, p0=(0, 1), p1=(1, 1))
    return Schedule.model_construct(name="s", pieces=(made,), jumps=())


def unknown() -> ProjectorModel:
    return construct(ProjectorModel, family=NEW)


RUNS: dict[str, Callable[[Stage], object]] = {
    "the rate at a clock": lambda _: schedule.lr(piece(NEW), 4),
    "a curve of rates": lambda _: curve.lr_curve(piece(NEW), [4]),
    "a piece at full size": lambda _: Laid(0, 8, NEW, 1, 0, None).rate(4),  # type: ignore[arg-type]
    "what a family has": lambda _: parameters.parameters(unknown()),
    "what a pair costs": lambda one: cost_coca.pair(other(one, modules={"llm": unknown()}), 4, 4),
    "how a family is built": lambda one: build.make(unknown(), one.rope, "cpu"),
    "how a family is initialised": lambda _: build.initialise(nn.Linear(2, 2), "llm", unknown(), 1),
    "which engine": lambda _: engine_of(NEW),  # type: ignore[arg-type]
    "what precision": lambda _: computes_in_bf16(NEW),  # type: ignore[arg-type]
    "what moments take": lambda one: memory.checkpoint(one, {"llm": other(one.optimizer, kind=NEW)}),
    "which parameters decay": lambda one: optimizer.Optimizer(
        other(one.optimizer, decay=NEW), [param_groups.Slot("llm", "w", nn.Parameter(nn.Linear(2, 2).weight), False)]
    ),
    "what a phase minimises": lambda one: objectives.make(
        one, other(one.phases[0], objective=NEW), nn.ModuleDict(), None, None  # type: ignore[arg-type]
    ),
    "how documents are packed": lambda one: other(one.phases[0], packing=NEW).whole("text"),
    "what a device's hours are called": lambda _: hardware.usual(NEW),  # type: ignore[arg-type]
    "the clock in words": lambda one: hand_over.clock(other(one, clock=NEW)),
    "the data in words": lambda one: hand_over.data(other(one, data=NEW)),
    "the weights in words": lambda one: hand_over.weights(
        construct(Init, weights=NEW, optimizer="reset", parent=None, release=None, layer_map=None, stand_in=False)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_an_unknown_value_is_named_and_not_taken_for_another(stage: Stage, name: str) -> None:
    with pytest.raises(AssertionError, match=NEW):
        RUNS[name](stage)


@pytest.mark.nightly
def test_mypy_names_every_dispatch_that_does_not_know_a_new_value(tmp_path: Path) -> None:
    """Every enumeration of the package gets one value more; what dispatches on it no longer type-checks.

    The same run looks whether names are imported from the modules that make them. `make lint` may not ask for that:
    tests put others in the place of what a module imports, in that module.
    """
    shutil.copytree(ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path in (tmp_path / "stages").rglob("*.py"):
        path.write_text(LITERAL.sub(rf'Literal[\1, "{NEW}"]', path.read_text()))
    words = [sys.executable, "-m", "mypy", "-p", "stages", "--no-implicit-reexport"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    named = re.findall(r'^(\S+?):\d+: error: Argument 1 to "assert_never"', done.stdout, re.MULTILINE)
    silent = {file: count for file, count in DISPATCHES.items() if named.count(file) < count}
    assert silent == {}, done.stdout
    assert [line for line in done.stdout.splitlines() if "does not explicitly export" in line] == []


def test_the_table_of_device_names_knows_every_device(stage: Stage) -> None:
    one = hardware.load(Project.load(ROOT).files, "h100")
    with pytest.raises(AssertionError, match=NEW):
        table._clock(hardware.Hardware(**{**vars(one), "device": NEW}))
    with pytest.raises(AssertionError, match=NEW):
        _ = hardware.Hardware(**{**vars(one), "device": NEW}).hours
