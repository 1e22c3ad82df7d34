"""What Snakemake's main process works out and its jobs read back, as a file.

Each main process has a file of its own: a job that waits for days must not see what `snakemake -n` makes of specs
edited since.
"""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass, field, fields
from pathlib import Path

from pydantic import TypeAdapter

from stages.errors import UserError
from stages.store import here, json_file

GRAPH = "STAGES_GRAPH"  # environment variable, which jobs inherit: the file that their own main process wrote


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The graph at one scale, as far as jobs need it; see `Workflow`."""

    published: list[str]
    published_corpora: list[str]
    variants: list[str]
    keys: dict[str, str]
    corpora_of: dict[str, list[str]]
    threads_of: dict[str, int]
    resources_of: dict[str, dict[str, int | str]]  # of stages and of corpora
    urgency_of: dict[str, int]
    corpora: dict[str, str]
    undone: list[str]  # stages and corpora to be run when the main process looked
    absent: list[str] = field(default_factory=list)  # pipelines without rules here: of other scales, or unreadable


_KEPT = TypeAdapter(Kept)


def write(folder: Path, kept: Kept) -> None:
    """Write the file, and name it to the jobs that this process starts."""
    path = folder / f"graph-{here.process()}.json"
    json_file.write(path, {one.name: getattr(kept, one.name) for one in fields(Kept)}, indent=1)
    os.environ[GRAPH] = path.name
    atexit.register(path.unlink, missing_ok=True)  # a killed one leaves it to its jobs, which run on


def read(folder: Path) -> Kept:
    """What this job's main process wrote. Raises UserError where its file is gone or damaged."""
    path = folder / os.environ.get(GRAPH, "graph.json")
    try:
        return json_file.read_as(path, _KEPT)
    except json_file.MissingFileError:
        raise UserError(f"{path}: not there, so this job's Snakemake has ended. Start Snakemake again.") from None
    except json_file.JsonFileError as error:
        raise UserError(f"{error}. Start Snakemake again.") from None
