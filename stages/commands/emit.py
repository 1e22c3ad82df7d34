"""`stages emit P/S`: a stage's batch script, for review or for sbatch."""

from __future__ import annotations

import sys
from pathlib import Path

from stages.check.gate import Gate
from stages.cluster import script, site
from stages.commands.open import open_project, pick
from stages.errors import UsageError
from stages.sync import graph


def print_script(ref: str, scale: str, releases: Path | None) -> None:
    """Print the script.

    Raises UsageError for an unknown stage, SpecError for a mistake in slurm/site.yaml, and FindingsError.
    """
    root, project = open_project(scale)
    loaded = graph.readable(root, project, scale)
    stage = pick(loaded, ref)
    Gate(project, scale, loaded.stages).refuse(ref)
    run = [sys.executable, "-m", "stages", "run", ref, "--scale", scale]
    if releases is not None:
        if not releases.is_dir():
            raise UsageError(f"--releases: {releases} is not a folder; it should hold one folder per released model.")
        run += ["--releases", str(releases.resolve())]
    print(script.text(stage, site.load(root), root.resolve(), run), end="")
