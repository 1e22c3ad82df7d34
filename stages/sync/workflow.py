"""What the Snakefile asks while it is parsed. The main process judges and refreshes markers; jobs only read."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from stages.errors import UsageError, UserError
from stages.spec.project import Project
from stages.store.files import write_atomic
from stages.store.layout import Layout
from stages.sync import graph, verdicts, write

CONFIG_KEYS = ("scale", "releases")
DEFAULT_SCALE = "mini"
PER_STAGE = ("corpora_of", "threads_of", "memory_of", "minutes_of", "urgency_of")
T = TypeVar("T")


@dataclass(frozen=True)
class Workflow:
    """The graph at one scale, as paths and numbers that rules need."""

    root: Path
    scale: str
    releases: str | None
    layout: Layout
    published: list[str]
    readings: list[str]
    keys: Mapping[str, str]
    corpora_of: Mapping[str, list[str]]
    threads_of: Mapping[str, int]
    memory_of: Mapping[str, int]
    minutes_of: Mapping[str, int]
    urgency_of: Mapping[str, int]
    corpora: Mapping[str, str]

    def marker(self, ref: str) -> str:
        """The output of a stage's rule, relative to the project."""
        return _relative(self.root, self.layout.marker(ref, self.keys[ref]))

    def data_marker(self, name: str) -> str:
        """The output of a corpus's rule, relative to the project."""
        return self.corpora[name]


def open_main(root: Path, config: Mapping[str, Any], quiet: bool) -> Workflow:
    """For the main process: check the config and the sync, judge every stage, refresh the markers, say what is stale.

    Raises UsageError for an unknown config key or scale, UserError when rules or dvc.yaml are not in sync.
    """
    scale, releases = read_config(root, config)
    project = Project.load(root)
    loaded = graph.load(root, project, scale)
    texts = write.wanted(root, project, loaded)
    if write.dvc_scale(root) != scale:
        del texts["dvc.yaml"]  # describes another scale, on purpose
    changed = write.unsynced(root, texts)
    if changed:
        raise UserError(f"{', '.join(changed)}: not what the specs say. Run `stages sync`.")
    layout = Layout(root, scale)
    judged = verdicts.refresh(root, layout, loaded)
    flow = _build(root, scale, releases, layout, loaded)
    _save(flow)
    if not quiet:
        print(start_line(loaded, {ref for ref, verdict in judged.items() if not verdict.done}), file=sys.stderr)
    return flow


def open_job(root: Path, config: Mapping[str, Any]) -> Workflow:
    """For a job's own process: what the main process worked out, read back; no spec is resolved, no marker touched."""
    scale, releases = read_config(root, config)
    layout = Layout(root, scale)
    path = _saved(layout)
    try:
        raw = json.loads(path.read_bytes())
    except OSError:
        raise UserError(f"{path}: not there; start Snakemake in the project's folder.") from None
    return Workflow(root, scale, releases, layout, **raw)


def or_exit(call: Callable[[], T]) -> T:
    """Call, and end the process with the error's own exit code and no traceback when the user has something to mend."""
    try:
        return call()
    except UserError as error:
        _leave(error)


def read_config(root: Path, config: Mapping[str, Any]) -> tuple[str, str | None]:
    """Scale and releases' folder from `--config`; raises UsageError for anything else."""
    unknown = sorted(set(config) - set(CONFIG_KEYS))
    if unknown:
        raise UsageError(f"--config: found {', '.join(unknown)}; allowed: {', '.join(CONFIG_KEYS)}.")
    scale = str(config.get("scale", DEFAULT_SCALE))
    known = sorted(path.stem for path in (root / "specs" / "scales").glob("*.yaml"))
    if scale not in known:
        raise UsageError(f"--config scale: found {scale!r}; allowed: {', '.join(known)}.")
    releases = config.get("releases")
    return scale, None if releases is None else str(releases)


def start_line(loaded: graph.Graph, stale: set[str]) -> str:
    """What is about to be looked after: scale, boxes by pipeline, and how many of them are not done."""
    counts = []
    for pipeline, boxes in loaded.pipelines.items():
        if pipeline in loaded.readings:
            continue
        waiting = len(stale & set(boxes))
        counts.append(f"{pipeline} {len(boxes)} boxes" + (f" ({waiting} to run)" if waiting else " (all done)"))
    return f"scale {loaded.scale}: " + ", ".join(counts)


def urgencies(loaded: graph.Graph) -> dict[str, int]:
    """Priority of every stage and corpus: how many jobs wait for it, one behind the other.

    A chain of stages cannot be shared among cores, so the longest one decides when everything is done: it goes first.
    """
    found: dict[str, int] = {}
    for ref in reversed(loaded.stages):  # children before their parents
        found.setdefault(ref, 0)
        stage = loaded.stages[ref]
        for name in (*stage.parents, *graph.corpora(stage, loaded.corpora)):
            found[name] = max(found.get(name, 0), found[ref] + 1)
    return {name: found.get(name, 0) for name in (*loaded.stages, *loaded.corpora)}


def _build(root: Path, scale: str, releases: str | None, layout: Layout, loaded: graph.Graph) -> Workflow:
    stages = loaded.stages
    return Workflow(
        root=root,
        scale=scale,
        releases=releases,
        layout=layout,
        published=list(loaded.published),
        readings=[ref for ref in stages if ref not in loaded.published],
        keys={ref: loaded.keys[ref] for ref in stages},
        corpora_of={ref: list(graph.corpora(stage, loaded.corpora)) for ref, stage in stages.items()},
        threads_of={ref: stage.execution.threads * stage.execution.ranks for ref, stage in stages.items()},
        memory_of={ref: stage.execution.memory_mb for ref, stage in stages.items()},
        minutes_of={ref: stage.execution.time_limit_min for ref, stage in stages.items()},
        urgency_of=urgencies(loaded),
        corpora={name: _relative(root, verdicts.corpus_marker(root, layout, name)) for name in loaded.corpora},
    )


def _save(flow: Workflow) -> None:
    fields = (
        "published",
        "readings",
        "keys",
        "corpora_of",
        "threads_of",
        "memory_of",
        "minutes_of",
        "urgency_of",
        "corpora",
    )
    text = json.dumps({field: getattr(flow, field) for field in fields}, sort_keys=True, indent=1)
    write_atomic(_saved(flow.layout), text.encode())


def _saved(layout: Layout) -> Path:
    return layout.markers / "workflow.json"


def _relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _leave(error: UserError) -> NoReturn:
    print(f"stages: {error}", file=sys.stderr)
    sys.stderr.flush()
    # Snakemake turns any exception in a Snakefile into a traceback and exit code 1.
    os._exit(error.exit_code)
