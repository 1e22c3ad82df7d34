"""Every published stage of the NeMo engine as a reviewer reads it: its job, and what Megatron-Bridge is given.

A stage's page has its job script and the fields that follow from the stage; the page `fixed` has all others, once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from syrupy.assertion import SnapshotAssertion

from stages.cluster import script
from stages.cluster.site import Site
from stages.commands.emit import engine_config
from stages.spec.resolved import Stage
from stages.testing import page_emitted
from tests import shipped

PROJECT = shipped.project()
FIXED = page_emitted.fixed()
READ = 8  # one in so many of the configurations is read again


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
        kept = page_emitted.own(stage, phase)
        yield f"--- # {phase.name}\n{yaml.safe_dump(kept, sort_keys=False, width=120, default_flow_style=None)}"


@pytest.mark.parametrize("stage", STAGES, ids=[f"{one.pipeline}.{one.name}" for one in STAGES])
def test_a_published_stage(stage: Stage, text: SnapshotAssertion) -> None:
    assert job(stage) + "\n" + "".join(own(stage)) == text


def test_fixed(text: SnapshotAssertion) -> None:
    assert yaml.safe_dump(FIXED, sort_keys=False, width=120, default_flow_style=None) == text


def test_all_of_them_are_written_as_fast_as_pyyaml_reads_them() -> None:
    assert len(STAGES) >= 22
    started = time.process_time()
    written = ["".join(engine_config(stage)) for stage in STAGES]
    wrote = time.process_time()
    some = written[::READ]
    for text in some:
        list(yaml.safe_load_all(text))
    read = time.process_time()
    assert (wrote - started) / sum(map(len, written)) < (read - wrote) / sum(map(len, some))
