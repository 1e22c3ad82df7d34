"""Engines: what turns a resolved stage into a finished result. No package above this one knows which engine runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, assert_never

from stages.cluster import slurm
from stages.contract.engines import refusal
from stages.engines import local
from stages.errors import UserError
from stages.spec.resolved import Stage
from stages.store import evaluated
from stages.store.layout import Layout
from stages.store.manifest import Parent


@dataclass(frozen=True)
class Inputs:
    """What a stage is built on. Parents are named with the key and manifest digest that are in place now."""

    layout: Layout
    key: str
    phase_keys: tuple[str, ...]
    parents: Mapping[str, Parent]
    data_root: Path
    releases: Mapping[str, Path]  # folders in Hugging Face layout that the user supplies, by release name
    # Steps after which a checkpoint is kept, because a branch starts there, and the key of the phase that it ends.
    kept: Mapping[int, str] = field(default_factory=dict)


def run(stage: Stage, inputs: Inputs) -> None:
    """Run a stage to its end and put the result in place, in as many processes as it has ranks.

    What trains does so in a step of its own where this is a Slurm job. Raises UserError: LeaseError, NonFiniteError,
    StoppedError (exit code 75, resumable), SlurmError, or what is wrong with its inputs.
    """
    execution = stage.execution
    _refuse(stage)
    apart = execution.ranks > 1 or execution.engine == "nemo" or slurm.this_job() is not None
    if stage.phases and not local.inside() and apart:
        from stages.engines import launch

        launch.start(stage, inputs)
        return
    match execution.engine:
        case "torch":
            from stages.engines import torch_engine

            torch_engine.run(stage, inputs)
        case "nemo":
            from stages.engines.nemo import engine

            engine.run(stage, inputs)
        case _:
            assert_never(execution.engine)


def _refuse(stage: Stage) -> None:
    """Raise UserError for what the stage's engine does not run, before a rank is started."""
    if (why := refusal(stage, None)) is not None:
        raise UserError(f"{stage.ref}: found {why}. Change the stage's spec or its scale.")


def evaluate(stage: Stage, inputs: Inputs) -> None:
    """Evaluate a finished result again; nothing is trained. In this process, except for what the NeMo engine trained:
    that is computed by as many ranks as a run has. Raises as `engines.evaluation.again`, and as `run`.
    """
    folder = inputs.layout.stage(stage.ref)
    by_ranks = stage.phases and stage.execution.engine == "nemo"
    if by_ranks and local.inside():
        from stages.engines.nemo import engine

        engine.evaluate(stage, inputs)
    elif by_ranks and evaluated.lacking(folder, stage):
        _refuse(stage)
        from stages.engines import launch

        launch.start(stage, inputs, again=True)
    else:
        from stages.engines.evaluation import again

        again(stage, inputs)


def found(stage: Stage, inputs: Inputs) -> Mapping[str, Any]:
    """What the stage's evaluation names, of the finished result of what the NeMo engine trained, by as many ranks as a
    run has; nothing is changed. Raises as `run`.
    """
    _refuse(stage)
    if local.inside():
        from stages.engines.nemo import engine

        return engine.found(stage, inputs)
    from stages.engines import launch

    return launch.found(stage, inputs)
