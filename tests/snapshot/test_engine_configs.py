"""Every published stage of the NeMo engine as a reviewer reads it: its job, and what Megatron-Bridge is given.

A stage's page has its job script and the fields that follow from the stage; the page `fixed` has all others, once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from syrupy.assertion import SnapshotAssertion

from stages.cluster import script
from stages.cluster.site import Site
from stages.commands.emit import engine_config
from stages.engines.nemo.config import config, services, training
from stages.engines.nemo.config.layers import LAYERS, MLA
from stages.engines.nemo.config.machine import MACHINE
from stages.spec.resolved import Stage
from tests import shipped

ROOT = Path(__file__).resolve().parents[2]
PROJECT = shipped.project()
FIXED: dict[str, dict[str, Any]] = {
    "rng": services.RNG, "rerun_state_machine": services.RERUN, "train": training.TRAIN,
    "validation": training.VALIDATION, "model": {**LAYERS, **MACHINE, **MLA}, "optimizer": training.OPTIMIZER,
    "scheduler": training.SCHEDULER, "ddp": training.DDP, "dataset": services.DATASET, "logger": services.LOGGER,
    "tokenizer": services.TOKENIZER, "checkpoint": services.CHECKPOINT, "dist": services.DIST,
    "profiling": services.PROFILING,
}  # fmt: skip
SECONDS = 5.0  # for all published stages together


def published() -> list[Stage]:
    """Every stage of the NeMo engine at full size, variants' own included."""
    found = []
    for name in PROJECT.pipelines(variants=True):
        resolved = PROJECT.resolve(name, "paper")
        found += [resolved.stages[one] for one in resolved.own if resolved.stages[one].execution.engine == "nemo"]
    return found


STAGES = published()


def job(stage: Stage) -> str:
    run = ["python", "-m", "stages", "run", f"{stage.pipeline}/{stage.name}", "--scale", stage.scale]
    return script.text(stage, Site(), Path("/home/me/project"), run)


def own(stage: Stage) -> Iterator[str]:
    """What of a phase's configuration is not fixed."""
    for phase in stage.phases:
        sections = {
            name: {key: value for key, value in (fields or {}).items() if key not in FIXED.get(name, {})}
            for name, fields in config(stage, phase).items()
        }
        kept = {name: fields for name, fields in sections.items() if fields}
        yield f"--- # {phase.name}\n{yaml.safe_dump(kept, sort_keys=False, width=120, default_flow_style=None)}"


@pytest.mark.parametrize("stage", STAGES, ids=[f"{one.pipeline}.{one.name}" for one in STAGES])
def test_a_published_stage(stage: Stage, text: SnapshotAssertion) -> None:
    assert job(stage) + "\n" + "".join(own(stage)) == text


def test_fixed(text: SnapshotAssertion) -> None:
    assert yaml.safe_dump(FIXED, sort_keys=False, width=120, default_flow_style=None) == text


def test_all_of_them_are_written_within_seconds() -> None:
    before = time.process_time()
    written = [job(stage) + "".join(engine_config(stage)) for stage in STAGES]
    assert len(written) >= 22
    assert time.process_time() - before < SECONDS
