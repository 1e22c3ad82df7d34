"""Which Python the ranks of a stage run under: Megatron-Bridge needs one of its own."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import stages
from stages.cluster.nemo import IN_IMAGE, Nemo
from stages.errors import UserError
from stages.spec.resolved import Stage

NEMO = Path(".venv-nemo/bin/python")  # in the folder that has the code; `make nemo` makes it
CODE = Path(stages.__file__).parent.parent


def command(stage: Stage, site: Nemo, in_job: bool) -> list[str]:
    """What runs this project's code for a rank of the stage: this interpreter, unless the stage's engine needs what is
    only in another; that one imports the same code, wherever this one has it from. Containers are for Slurm jobs.

    Raises UserError where there is none.
    """
    if stage.execution.engine == "torch":
        return [sys.executable]
    if site.container is not None and in_job:
        return [*_with_code(), site.python or IN_IMAGE]
    if site.python is None and has_megatron():
        return [*site.prefix(), sys.executable]
    python = CODE / NEMO if site.python is None else Path(site.python)
    if site.python is not None and not python.is_file():
        raise UserError(
            f"slurm/site.yaml: nemo.python: found {site.python}, which is no file here; allowed: an interpreter that "
            "has Megatron-Bridge. Correct it, or write null for .venv-nemo."
        )
    if not python.is_file():
        raise UserError(
            f"{stage.ref}: engine nemo needs Megatron-Bridge, which is neither in {sys.executable} "
            f"nor in {python}. Run `make nemo` in {CODE}, which makes that environment, or name another engine in "
            "specs/scales."
        )
    return [*site.prefix(), *_with_code(), str(python)]


def _with_code() -> list[str]:
    paths = filter(None, [str(CODE), os.environ.get("PYTHONPATH")])
    return ["env", f"PYTHONPATH={os.pathsep.join(paths)}"]


def has_megatron() -> bool:
    """Whether Megatron-Bridge is installed in this interpreter; nothing of it is imported."""
    return importlib.util.find_spec("megatron") is not None and importlib.util.find_spec("megatron.bridge") is not None
