"""`stages emit P/S`: a stage's batch script, for review or for sbatch; or the configuration of its engine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from stages.check.gate import Gate
from stages.cluster import script, site
from stages.commands.chosen import choose
from stages.engines.nemo.config import config
from stages.errors import UsageError
from stages.spec.resolved import Stage
from stages.store.releases import folders as release_folders


def print_script(ref: str, scale: str, releases: Path | None) -> None:
    """Print the script.

    Raises UsageError for an unknown stage, SpecError for a mistake in slurm/site.yaml, and FindingsError.
    """
    chosen = choose(ref, scale)
    Gate(chosen.project, scale, chosen.graph.stages).refuse(chosen.ref)
    run = [sys.executable, "-m", "stages", "run", chosen.ref, "--scale", scale]
    if releases is not None:
        release_folders(releases)
        run += ["--releases", str(releases.resolve())]
    print(script.text(chosen.stage, site.load(chosen.root), chosen.root.resolve(), run), end="")


def print_engine_config(ref: str, scale: str) -> None:
    """Print what the NeMo engine gives to Megatron-Bridge, one YAML document for each phase.

    Raises UsageError for an unknown stage, and for one that another engine runs.
    """
    stage = choose(ref, scale).stage
    if stage.execution.engine != "nemo":
        raise UsageError(
            f"{stage.ref}: found engine {stage.execution.engine} at scale {scale}; allowed: stages of engine nemo. "
            "The torch engine has no configuration of its own: `stages show` says all that it goes by."
        )
    print("".join(engine_config(stage)), end="")


def engine_config(stage: Stage) -> Iterator[str]:
    """The configuration of each phase, as a YAML document."""
    for phase in stage.phases:
        made = yaml.safe_dump(config(stage, phase), sort_keys=False, width=120, default_flow_style=None)
        yield f"--- # {stage.ref} {phase.name} at scale {stage.scale}\n{made}"
