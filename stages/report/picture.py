"""The LR picture of a pipeline as a file: `python -m stages.report.picture ouro paper docs/img/ouro_lr.png`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd

from stages.errors import UsageError, UserError
from stages.report import pipeline_plot, stage_plots
from stages.report.collect import readable
from stages.report.columns import ancestry
from stages.report.metrics import read_metrics
from stages.report.style import save
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.store import manifest
from stages.store.layout import Layout


def write(project: Project, layout: Layout, pipeline: str, path: Path) -> None:
    """Draw a pipeline at the layout's scale to `path`; the steps of its stages that have results are marked."""
    stages, keys = lineage(project, pipeline, layout.scale)
    title = project.resolve(pipeline, layout.scale).title
    save(pipeline_plot.draw(title, layout.scale, stages, measured(layout, stages, keys)), path)


def draw_missing(project: Project, layout: Layout) -> list[Path]:
    """Draw what finished stages lack: their own plots, and the pictures of their pipelines. Returns what was written.

    Drawn once after a run, not by every stage: a process that trains need not load a plotting library.
    """
    written, touched = list[Path](), dict[str, None]()
    for result in readable(layout)[0]:
        if result.metrics is None:
            continue
        drawn = _drawn(result.folder)
        if not drawn:
            stage_plots.write(result.stage, result.metrics, result.folder)
            written.append(result.folder / "plots")
        if not drawn or not live(layout, result.stage.pipeline).exists():
            touched[result.stage.pipeline] = None
    unreadable = project.resolve_all(layout.scale)[1] if touched else {}
    for pipeline in (one for one in touched if one not in unreadable):
        path = live(layout, pipeline)
        write(project, layout, pipeline, path)
        written.append(path)
    return written


def _drawn(folder: Path) -> bool:
    plots, metrics = folder / "plots" / "lr.png", folder / "metrics.csv"
    return plots.exists() and plots.stat().st_mtime >= metrics.stat().st_mtime


def live(layout: Layout, pipeline: str) -> Path:
    """Where a pipeline's picture lies among the live results."""
    return layout.results / layout.scale / f"{pipeline}.png"


def lineage(project: Project, pipeline: str, scale: str) -> tuple[dict[str, Stage], dict[str, str]]:
    """The stages of a pipeline by "pipeline/stage", parents first, and their keys; of a variant its own stages and what
    they are built on.
    """
    resolved = project.resolve(pipeline, scale)
    keys = {resolved.refs[name]: key for name, key in resolved.keys.items()}
    if resolved.extends is None:
        return {stage.ref: stage for stage in resolved.stages.values()}, keys
    extended = project.resolve(resolved.extends, scale)
    known = {stage.ref: stage for stage in extended.stages.values()}
    own = {stage.ref: stage for name, stage in resolved.stages.items() if name in resolved.own}
    needed = set[str]().union(*(ancestry(name, {**known, **own}) for name in own))
    stages = {**{name: stage for name, stage in known.items() if name in needed}, **own}
    return stages, {extended.refs[name]: key for name, key in extended.keys.items()} | keys


def measured(layout: Layout, stages: Mapping[str, Stage], keys: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Metrics of the stages whose result in place has the wanted key; a stale result is not shown."""
    found = {}
    for name, stage in stages.items():
        if not stage.phases or not layout.manifest(name).exists():
            continue
        with suppress(UserError):  # `stages table` names what cannot be read
            if manifest.read(layout.manifest(name)).key == keys[name]:
                found[name] = read_metrics(layout.stage(name) / "metrics.csv", stage)
    return found


def main(words: Sequence[str]) -> int:
    """Draw one pipeline of the project in the current folder."""
    try:
        if len(words) != 3:
            raise UsageError("say: python -m stages.report.picture PIPELINE SCALE FILE.png")
        pipeline, scale, path = words
        write(Project.load(Path.cwd()), Layout(Path.cwd(), scale), pipeline, Path(path))
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
