"""The memory that a few steps of a stage take, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from stages.engines import Inputs, run
from stages.spec.resolved import Init, Stage
from stages.spec.resolved_phases import BatchStep, Phase, Resolution
from stages.store import run_record, stage_record
from stages.store.layout import Layout

STEPS = 12
FRESH = Init(weights="fresh", parent=None, release=None, optimizer="reset", layer_map=None, stand_in=False)


def short(stage: Stage) -> Stage:
    """The stage from fresh weights, each phase cut to a few steps of its largest batch and pictures."""
    phases = tuple(_short(phase) for phase in stage.phases)
    changes = {"kind": "train", "parents": (), "init": dict.fromkeys(stage.modules, FRESH), "phases": phases}
    return stage.model_copy(update=changes)


def _short(phase: Phase) -> Phase:
    most = phase.batch[-1].sequences
    changes: dict[str, object] = {
        "budget": min(phase.budget, STEPS * most * phase.context),
        "batch": (BatchStep(after=0, sequences=most),),
    }
    if phase.coca is not None:
        largest = Resolution(after=0, cap=phase.coca.resolutions[-1].cap)
        changes["coca"] = phase.coca.model_copy(update={"resolutions": (largest,)})
    return phase.model_copy(update=changes)


def measured(stage: Stage, data_root: Path) -> float:
    """Peak MB of the process that trains the stage through the engine, evaluations and result included."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stage_record.write(folder, stage)
        subprocess.run([sys.executable, "-m", __name__, name, str(data_root)], check=True, stdout=subprocess.DEVNULL)
        found = run_record.read(Layout(folder, stage.scale).stage(f"{stage.pipeline}/{stage.name}")).peak_memory_mb
    if found is None:
        raise ValueError(f"{stage.pipeline}/{stage.name}: its run recorded no memory")
    return found


def train(arguments: Sequence[str]) -> None:
    """What the process does: the stage in a folder, on the corpora in another."""
    folder, data_root = map(Path, arguments)
    stage = stage_record.read(folder)
    keys = tuple(f"{number:032x}" for number in range(1, len(stage.phases) + 1))
    run(stage, Inputs(Layout(folder, stage.scale), "a" * 32, keys, {}, data_root, {}))


if __name__ == "__main__":
    train(sys.argv[1:])
