"""The page `emitted` of a stage: its Slurm script, and the configuration that its engine is given.

Of the NeMo engine's configuration a stage's page has what follows from the stage; the page `nemo` of the project has
the rest, which is the same for all, once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.cluster import script
from stages.cluster.site import Site
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase

ROOT = Path("/project")  # in place of the project's folder, which differs from machine to machine
NEMO = "nemo"


def page(stage: Stage, site: Site) -> dict[str, Any]:
    """The script, and each phase's own part of the NeMo engine's configuration where that engine trains the stage."""
    run = ["python", "-m", "stages", "run", stage.ref, "--scale", stage.scale]
    found: dict[str, Any] = {"job": script.text(stage, site, ROOT, run)}
    if stage.execution.engine == "nemo":
        found["engine"] = {phase.name: own(stage, phase) for phase in stage.phases}
    return found


def own(stage: Stage, phase: Phase) -> dict[str, Any]:
    """What of a phase's configuration follows from the stage."""
    from stages.engines.nemo.config import config

    same = fixed()
    sections = {
        name: {key: value for key, value in (fields or {}).items() if key not in same.get(name, {})}
        for name, fields in config(stage, phase).items()
    }
    return {name: fields for name, fields in sections.items() if fields}


def fixed() -> dict[str, dict[str, Any]]:
    """What the NeMo engine sets for every stage."""
    from stages.engines.nemo.config import services, training
    from stages.engines.nemo.config.layers import LAYERS, MLA
    from stages.engines.nemo.config.machine import MACHINE

    return {
        "rng": services.RNG, "rerun_state_machine": services.RERUN, "train": training.TRAIN,
        "validation": training.VALIDATION, "model": {**LAYERS, **MACHINE, **MLA}, "optimizer": training.OPTIMIZER,
        "scheduler": training.SCHEDULER, "ddp": training.DDP, "dataset": services.DATASET, "logger": services.LOGGER,
        "tokenizer": services.TOKENIZER, "checkpoint": services.CHECKPOINT, "dist": services.DIST,
        "profiling": services.PROFILING,
    }  # fmt: skip
