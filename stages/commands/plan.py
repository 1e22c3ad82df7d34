"""`stages plan`: what pipelines will take, and how well that was foreseen."""

from __future__ import annotations

import json
from pathlib import Path

from stages.check import bindings
from stages.check.notices import notices
from stages.commands.open import find_root, known_pipeline, open_project, published_scale
from stages.contract import hardware as profiles
from stages.contract.hardware import Hardware
from stages.plan.pipeline import PipelinePlan, as_json, plan_pipeline
from stages.spec.project import Project
from stages.sync import graph


def print_plan(pipeline: str | None, scale: str | None, hardware: str | None, measured: bool, as_json_: bool) -> None:
    """Print the plan of one pipeline, or of all published ones.

    Without a scale it is the published one, or the first that the pipeline is at. Raises SpecError(s), after the
    others, for those that cannot be read.
    """
    scale = scale or published_scale(Project.load(find_root()), pipeline)
    root, project = open_project(scale)
    unreadable = project.resolve_all(scale, variants=False)[1] if pipeline is None else {}
    names = [name for name in _names(project, pipeline, scale) if name not in unreadable]
    given = project.scale(scale)
    profile = profiles.load(project.files, hardware) if hardware else profiles.load_usual(project.files, given)
    plans = [plan_pipeline(project, name, scale, profile) for name in names]
    if measured:
        _print_measured(root, scale, plans, as_json_)
    elif as_json_:
        print(json.dumps([as_json(plan) for plan in plans], indent=2, allow_nan=False))
    else:
        absent = project.absent(scale) if pipeline is None else []
        elsewhere = [f"{name} is not at this scale; at {', '.join(project.scales_of(name))}" for name in absent]
        _print_tables(plans, profile, [*notices(project, scale), *elsewhere])
        print("".join(f"{line}\n" for line in bindings.table(project, scale, names)), end="")
    graph.refuse(unreadable)


def _names(project: Project, pipeline: str | None, scale: str) -> list[str]:
    if pipeline is None:
        return project.pipelines(variants=False, scale=scale)
    absent = {name: project.scales_of(name) for name in project.absent(scale)}
    return [known_pipeline(pipeline, project.pipelines(variants=True), absent)]


def _print_tables(plans: list[PipelinePlan], profile: Hardware, notices: list[str]) -> None:
    from stages.plan import table
    from stages.terminal import Console

    console = Console(width=table.WIDTH, highlight=False)
    for plan in plans:
        console.print(table.table(plan))
        console.print("\n".join(table.totals(plan)), "\n", markup=False)
    console.print("\n".join([*table.assumptions(profile), *(f"notice: {one}" for one in notices)]), markup=False)


def _print_measured(root: Path, scale: str, plans: list[PipelinePlan], as_json_: bool) -> None:
    from stages.plan import measured
    from stages.store.layout import Layout

    compared = measured.compare(Layout(root, scale), plans)
    if as_json_:
        print(json.dumps([measured.as_json(one) for one in compared], indent=2, allow_nan=False))
        return
    from stages.terminal import Console

    console = Console(width=120, highlight=False)
    console.print(measured.table(scale, compared))
    console.print(measured.summary(compared), markup=False)
