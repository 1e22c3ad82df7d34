"""The batch script of one stage: to be reviewed, or handed to sbatch. It requests what the stage's rule requests."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from stages.cluster import resources
from stages.cluster.nemo import IN_IMAGE
from stages.cluster.resources import Request
from stages.cluster.site import Site
from stages.cluster.slurm import RULE
from stages.errors import UserError
from stages.printable import CONTROL
from stages.spec.resolved import Stage


def text(stage: Stage, site: Site, root: Path, run: Sequence[str]) -> str:
    """The script that runs the command `run` in the project `root`, on the first of the nodes that the stage needs.

    Raises UserError for a path that no line of a script can have: what follows a line break would be run.
    """
    if CONTROL.search(str(root)):
        raise UserError(
            f"{str(root)!r}: a path with a control character, as a line break, which no line of a batch script can "
            "have. Rename the directory."
        )
    request = resources.of_stage(stage, site)
    lines = ["#!/bin/bash", *(f"# {line}" for line in _words(stage, request, site, root))]
    lines += [f"#SBATCH {option}" for option in _options(stage, request, site, root)]
    return "\n".join([*lines, "set -euo pipefail", f"exec {shlex.join(run)}", ""])


def _words(stage: Stage, request: Request, site: Site, root: Path) -> Iterator[str]:
    """What a reviewer wants to know first."""
    ranks = _count(stage.execution.ranks if stage.phases else 1, "rank")
    gpus = f"{_count(request.gpus, 'GPU')}, " if request.gpus else ""
    each = f"{gpus}{_count(request.cpus, 'CPU')}, {request.memory_mb / 1000:g} GB"
    limit = stage.execution.time_limit_min
    yield f"{stage.ref} at scale {stage.scale}: {stage.box}"
    yield f"{ranks} on {_count(request.nodes, 'node')}{', each' if request.nodes > 1 else ''} with {each}"
    if site.max_time is not None and request.minutes == site.max_time < limit:
        yield f"its {limit} min are more than a job may have: after {site.max_time} min it queues again, and goes on"
    if stage.execution.engine == "nemo":
        yield from _under(site, root)
    if stage.parents:
        yield f"needs, done: {', '.join(stage.parents)}"


def _under(site: Site, root: Path) -> Iterator[str]:
    """What the NeMo engine's ranks run under, as srun and they are started by the command below."""
    nemo = site.nemo
    usual = IN_IMAGE if nemo.container is not None else "python of .venv-nemo"
    yield f"engine nemo, under {nemo.python or usual}"
    if nemo.modules:
        yield f"modules: {' '.join(nemo.modules)}"
    if nemo.environment:
        yield f"environment: {' '.join(f'{name}={shlex.quote(value)}' for name, value in nemo.environment.items())}"
    if nemo.container is not None:
        yield f"srun {shlex.join(nemo.options(root, root))}"


def _count(number: int, of: str) -> str:
    return f"{number} {of}" if number == 1 else f"{number} {of}s"


def _options(stage: Stage, request: Request, site: Site, root: Path) -> Iterator[str]:
    """sbatch's options, one a line. The comment is what `snakemake --profile slurm` knows its own jobs by."""
    rule = f"{stage.pipeline}__{stage.name}"
    named: dict[str, object] = {"job-name": rule, "comment": f"{RULE}{rule}", "chdir": root}
    for name, value in (named | resources.options(request, site)).items():
        yield f"--{name}={_quoted(str(value))}"
    yield "--requeue"
    yield resources.APPEND
    yield from map(_quoted, site.extra)


def _quoted(text: str) -> str:
    """As sbatch reads it: like a shell, except for backslashes, which it takes for itself within quotes too."""
    return shlex.quote(text.replace("\\", r"\\"))
