"""Predicted and measured memory of the stages of a scale on CPUs: `python -m benchmarks.memory [SCALE [STAGE ...]]`.

Each stage trains for a few steps of its largest batch, in a process of its own and through the engine, with its
evaluations, from fresh weights and on its corpora (`stages data` prepares them): all that memory depends on but its
parents. Prints MB predicted and measured, and the median of the errors; exits 1 where the plan is too low.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from benchmarks import held
from stages.contract import hardware, memory
from stages.spec.project import Project
from stages.store.layout import Layout

MEGA = 10**6


def main(arguments: list[str]) -> int:
    scale, *wanted = arguments or ["mini"]
    project = Project.load(Path.cwd())
    device = hardware.load(project.files, "laptop_cpu")
    data = Layout(Path.cwd(), scale).results / scale / "data"
    errors = []
    for pipeline in project.pipelines(variants=False):
        for name, stage in project.resolve(pipeline, scale).stages.items():
            if not stage.phases or (wanted and f"{pipeline}/{name}" not in wanted):
                continue
            predicted = max(memory.of(stage, phase, device).total for phase in stage.phases) / MEGA
            measured = held.measured(held.short(stage), data)
            errors.append(predicted / measured - 1)
            line = f"{pipeline}/{name}: {predicted:.0f} MB predicted, {measured:.0f} measured, {errors[-1]:+.0%}"
            print(line, flush=True)
    print(f"median error {statistics.median(errors):+.0%}, lowest {min(errors):+.0%}")
    return int(min(errors) < 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
