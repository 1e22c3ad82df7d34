"""`stages plan`: what pipelines will take, and how well that was foreseen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from stages.check.notices import bindings
from stages.check.notices.run import planned_only
from stages.commands.find_project import find_root, known_pipeline, open_project, published_scale, stage_of
from stages.contract import hardware as profiles
from stages.contract.hardware import Hardware
from stages.errors import UsageError
from stages.plan.pipeline import PipelinePlan, as_json, plan_pipeline
from stages.printable import print_json
from stages.spec.project import Project
from stages.store.layout import Layout
from stages.sync import graph


def print_plan(named: Sequence[str], scale: str | None, hardware: str | None, measured: bool, as_json_: bool) -> None:
    """Print the plan of what is named, pipelines or stages, or of all published pipelines.

    Without a scale it is `published_scale`. Raises InvalidSpecs, after the
    others, for those that cannot be read.
    """
    scale = scale or published_scale(Project.load(find_root()), named[0].partition("/")[0] if named else None)
    root, project = open_project(scale)
    unreadable = {} if named else project.resolve_all(scale, variants=False)[1]
    names = [name for name in _names(project, named, scale) if name not in unreadable]
    given = project.scale(scale)
    profile = profiles.load(project.files, hardware) if hardware else profiles.load_usual(project.files, given)
    plans = [_of(project, plan_pipeline(project, name, scale, profile), named, scale) for name in names]
    if measured:
        _print_measured(root, scale, plans, as_json_)
    elif as_json_:
        print_json([as_json(plan) for plan in plans])
    else:
        absent = [] if named else project.absent(scale)
        elsewhere = [f"{name} is not at this scale; at {', '.join(project.scales_of(name))}" for name in absent]
        _print_tables(plans, profile, [*planned_only(project, scale), *elsewhere, *_shared(project, names, scale)])
        print("".join(f"{line}\n" for line in bindings.table(project, scale, names)), end="")
        print("".join(f"prepared: {line}\n" for line in _left_out(root, project, scale, plans)), end="")
    graph.refuse(unreadable)


def _shared(project: Project, names: Sequence[str], scale: str) -> Iterator[str]:
    """A line for each variant about the stages that are not its own, and so not in its table."""
    for name in names:
        found = project.resolve(name, scale)
        others = len(found.stages) - len(found.own)
        if others and found.extends:
            rest = f"{others} stages are" if others > 1 else "1 stage is"
            yield f"{name}: {rest} as in {found.extends}, run once and planned there: stages plan {found.extends}"


def _left_out(root: Path, project: Project, scale: str, plans: list[PipelinePlan]) -> Iterator[str]:
    """Lines about what corpora that are there leave out."""
    data = Layout(root, scale).data
    if not data.is_dir():
        return iter(())
    from stages.commands.left_out import of_planned  # loads numpy

    stages = {plan.name: project.resolve(plan.name, scale).stages for plan in plans}
    planned = (stages[plan.name].get(one.ref.rpartition("/")[2]) for plan in plans for one in plan.stages)
    return of_planned((stage for stage in planned if stage is not None), data)


def _names(project: Project, named: Sequence[str], scale: str) -> list[str]:
    if not named:
        return project.pipelines(variants=False, scale=scale)
    absent = {name: project.scales_of(name) for name in project.absent(scale)}
    for name in named:
        if "/" in name:
            stage_of(project, name, scale)
    pipelines = {name.partition("/")[0]: name for name in named}
    return [known_pipeline(name, project.pipelines(variants=True), absent, pipelines[name]) for name in pipelines]


def _of(project: Project, plan: PipelinePlan, named: Sequence[str], scale: str) -> PipelinePlan:
    """The plan of the stages that are named, without the published totals; of all where the pipeline itself is named.

    Raises UsageError for a stage that there is not, or that another pipeline has the rule of.
    """
    if not named or plan.name in named:
        return plan
    own = {stage.ref: stage for stage in plan.stages}
    wanted = [name for name in named if name.partition("/")[0] == plan.name]
    for name in wanted:
        if name not in own:
            shared = project.resolve(plan.name, scale).refs[stage_of(project, name, scale).name]
            raise UsageError(f"{name} comes out as {shared} does, and is planned there: `stages plan {shared}`.")
    return replace(plan, stages=tuple(own[name] for name in own if name in wanted), claims=())


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
        print_json([measured.as_json(one) for one in compared])
        return
    from stages.terminal import Console

    console = Console(width=120, highlight=False)
    console.print(measured.table(scale, compared))
    console.print(measured.summary(compared), markup=False)
