"""`stages report`: one folder of static pages about pipelines at a scale, whatever state their results are in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from stages.check.run import run_pipeline
from stages.commands.find_project import PUBLISHED, known_pipeline, not_here, open_graph
from stages.contract import hardware
from stages.errors import UserError
from stages.plan.pipeline import ClaimPlan, claims, plan_pipeline
from stages.plan.stage import StagePlan
from stages.report import gates
from stages.report.collect import readable
from stages.report.commit import commit
from stages.report.html import folder as folders
from stages.report.html.page import Subject
from stages.report.html.sweeps import Swept
from stages.report.html.tables import Figures
from stages.report.html.views import view
from stages.report.metrics import StageResult
from stages.report.picture import lineage
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_pipeline import ResolvedPipeline
from stages.spec.variants import sweeps
from stages.store.done import Verdict
from stages.store.layout import Layout
from stages.sync import graph
from stages.sync.verdicts import judge


def write_report(names: Sequence[str], scale: str, out: Path) -> None:
    """Write the report of the pipelines named, or of all published ones and of the variants that have a result.

    Raises UsageError for unknown names and for a folder that contains something else, and, after the others, what is
    wrong with specs that cannot be read.
    """
    layout, project, loaded = open_graph(scale)
    folders.refuse_inside(out, layout.root)
    folders.refuse(out)
    verdicts = judge(layout, loaded.stages, loaded.keys, tell_refused=True)
    results, _ = readable(layout)
    subjects = [_subject(project, layout, name, results, verdicts) for name in _asked(names, loaded, layout)]
    head = {
        "scale": scale,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(layout.root),
        "version": version("stages"),
    }
    size = folders.write(out, subjects, head)
    many = "1 pipeline" if len(subjects) == 1 else f"{len(subjects)} pipelines"
    print(f"report: {many} at {scale}, {size / 1e6:.1f} MB; open {out / 'index.html'}")
    graph.refuse({name: why for name, why in loaded.unreadable.items() if not names or name in names})


def _asked(names: Sequence[str], loaded: graph.Graph, layout: Layout) -> list[str]:
    if not names:
        place = layout.results / layout.scale
        return [one for one in loaded.pipelines if one not in loaded.variants or (place / one).is_dir()]
    for name in names:
        if name in loaded.absent:
            raise not_here(name, loaded.absent[name])
        if name not in loaded.unreadable:
            known_pipeline(name, loaded.pipelines)
    return [name for name in dict.fromkeys(names) if name not in loaded.unreadable]


def _subject(
    project: Project, layout: Layout, name: str, results: Sequence[StageResult], verdicts: Mapping[str, Verdict]
) -> Subject:
    resolved = project.resolve(name, layout.scale)
    stages, _ = lineage(project, name, layout.scale)
    views = [view(layout, number, stage, verdicts[ref]) for number, (ref, stage) in enumerate(stages.items(), 1)]
    metrics, figures = _other_seeds(project, layout, name, stages)
    problems = [f"{one.ref}: {problem}" for one in views for problem in one.problems]
    plans, priced_on = _plans(project, resolved, problems)
    published, at = _published(project, name)
    judged = [one for one in results if one.stage.ref in stages]
    current = {one.ref for one in views if one.manifest is not None}
    return Subject(
        pipeline=resolved, seed=project.scale(layout.scale).seed, views=views, others=metrics, figures=figures,
        plans=plans, priced_on=priced_on, published=published, published_scale=at,
        findings=run_pipeline(project, name, layout.scale), problems=problems,
        swept=_swept(project, resolved), gates=[gate for gate in gates.judge(judged) if gate.stage in current],
    )  # fmt: skip


def _swept(project: Project, resolved: ResolvedPipeline) -> list[Swept]:
    """The pipeline's stages with variants."""
    found = sweeps(one.raw for one in project.loaded(resolved.name).stages.values())
    return [
        Swept(
            written, next(iter(variants.values())).field,
            {resolved.refs[name]: raw.value for name, raw in variants.items()},
        )
        for written, variants in found.items()
    ]  # fmt: skip


def _plans(project: Project, resolved: ResolvedPipeline, problems: list[str]) -> tuple[dict[str, StagePlan], str]:
    """The plan of each stage, and the profile that it is priced on; where there is none, a problem."""
    try:
        profile = hardware.load_usual(project.files, project.scale(resolved.scale))
        plan = plan_pipeline(project, resolved.name, resolved.scale, profile)
    except UserError as error:
        problems.append(f"no plan: {error}")
        return {}, ""
    return {one.ref: one for one in plan.stages}, profile.name


def _published(project: Project, name: str) -> tuple[tuple[ClaimPlan, ...], str]:
    """The published totals next to the planned ones, at the scale of full size."""
    with suppress(UserError):  # what is wrong at another scale is no matter of this report
        if project.has(name, PUBLISHED) and project.shrink(name, PUBLISHED).shrink is None:
            return claims(project.resolve(name, PUBLISHED)), PUBLISHED
    return (), ""


def _other_seeds(
    project: Project, layout: Layout, name: str, stages: Mapping[str, Stage]
) -> tuple[dict[str, dict[str, pd.DataFrame]], Figures]:
    """Metrics and evaluations of the same stages at scales that differ from this one in the seed alone."""
    metrics: dict[str, dict[str, pd.DataFrame]] = {}
    figures: dict[str, dict[str, tuple[dict[str, float], dict[str, float]]]] = {}
    for scale, keys in _alike(project, layout, name, stages):
        for ref in stages:
            one = view(Layout(layout.root, scale), 0, stages[ref], Verdict(ref, keys[ref], "done", ""))
            if one.manifest is None:
                continue
            if one.metrics is not None:
                metrics.setdefault(scale, {})[ref] = one.metrics
            figures.setdefault(scale, {})[ref] = (one.figures("before"), one.figures("after"))
    return metrics, figures


def _alike(
    project: Project, layout: Layout, name: str, stages: Mapping[str, Stage]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Scales with results of this pipeline that differ in the seed alone, and the keys of its stages there."""
    for scale in project.scales():
        if scale == layout.scale or not (layout.results / scale / name).is_dir():
            continue
        with suppress(UserError):  # another scale's mistake
            if not project.has(name, scale):
                continue
            there, keys = lineage(project, name, scale)
            same = {ref: {"scale": layout.scale, "seed": stages[ref].seed} for ref in there if ref in stages}
            if {ref: there[ref].model_copy(update=change) for ref, change in same.items()} == stages:
                yield scale, keys
