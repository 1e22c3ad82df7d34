"""`stages list` and `stages schema`: what specs there are, and the JSON Schema of their files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.commands.find_project import named_refs, open_graph
from stages.printable import print_json, printable
from stages.report.number_format import count, lengths
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_pipeline import ResolvedPipeline
from stages.sync import graph

ROW = "  {:<22} {:<8} {:<14} {:<10} {}"


def print_list(scale: str, named: Sequence[str], as_json: bool) -> None:
    """Pipelines with their titles; each one's own stages with kind, budget, context and parents.

    Where some are named, these pipelines, or of a pipeline these stages. Raises UsageError for other names, and
    InvalidSpecs, after the others, for those that cannot be read.
    """
    _, project, loaded = open_graph(scale)
    wanted = set(named_refs(loaded, named))
    pipelines = dict.fromkeys(name.partition("/")[0] for name in named) or project.pipelines(True, scale)
    resolved = [_of(project.resolve(name, scale), wanted) for name in pipelines if name in loaded.pipelines]
    if as_json:
        print_json([_fields(one) for one in resolved])
    else:
        _print_list(project, scale, resolved, () if named else project.absent(scale))
    if not named:
        graph.refuse(loaded.unreadable)


def _of(pipeline: ResolvedPipeline, wanted: Collection[str]) -> ResolvedPipeline:
    """The pipeline without the stages that were not named."""
    stages = {name: stage for name, stage in pipeline.stages.items() if pipeline.refs[name] in wanted}
    return replace(pipeline, stages=stages, own=tuple(name for name in pipeline.own if name in stages))


def _print_list(project: Project, scale: str, resolved: Sequence[ResolvedPipeline], absent: Sequence[str]) -> None:
    for one in resolved:
        print(f"{one.name}: {one.title}" + (f" (extends {one.extends})" if one.extends else ""))
        if not one.own:
            print(f"  every stage comes out as {one.extends}'s does")
            continue
        print(ROW.format("stage", "kind", "budget", "context", "from"))
        for name in one.own:
            stage = one.stages[name]
            print(ROW.format(name, stage.kind, budget(stage), contexts(stage), _parents(stage)).rstrip())
        if len(one.own) < len(one.stages):
            others = len(one.stages) - len(one.own)
            print(f"  and {others} stage{'s' if others > 1 else ''} as in {one.extends}")
    for name in absent:
        print(f"{name}: {project.loaded(name).raw.title}\n  not at this scale; at {', '.join(project.scales_of(name))}")
    print(f"at scale {scale}; `stages show PIPELINE/STAGE` prints what one takes from its parent and what it does")


def budget(stage: Stage) -> str:
    """Ledger units over all phases: "1.4T tokens"; nothing for a stage that does not train."""
    return f"{count(stage.budget)} {stage.phases[0].unit}" if stage.phases else "-"


def contexts(stage: Stage) -> str:
    """The contexts of the phases in order, each once: "32K, 128K"."""
    return ", ".join(lengths(stage)) or "-"


def _parents(stage: Stage) -> str:
    """Parents, those of the same pipeline by their bare name."""
    return ", ".join(parent.removeprefix(f"{stage.pipeline}/") for parent in stage.parents)


def _fields(pipeline: ResolvedPipeline) -> dict[str, Any]:
    stages = [
        {
            "stage": name,
            "kind": pipeline.stages[name].kind,
            "box": pipeline.stages[name].box,
            "budgets": [{"phase": phase.name, phase.unit: phase.budget} for phase in pipeline.stages[name].phases],
            "contexts": [phase.context for phase in pipeline.stages[name].phases],
            "parents": list(pipeline.stages[name].parents),
        }
        for name in pipeline.own
    ]
    return {"pipeline": pipeline.name, "title": pipeline.title, "extends": pipeline.extends, "stages": stages}


def print_schema(out: Path | None = None) -> None:
    """The JSON Schemas of the spec files, of slurm/site.yaml and of tracking.yaml in one object, or a file each.

    Raises WriteError.
    """
    from stages.scaffold import schemas

    if out is None:
        print_json(schemas.every(), sort_keys=True)
    else:
        print(printable(f"{out}: {schemas.write(out)} schemas, which the first lines of a project's specs name"))
