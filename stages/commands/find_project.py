"""Finding the project that a command is about."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from stages.errors import UsageError
from stages.spec import points, quantities
from stages.spec.points import stage_name
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.validate import near
from stages.store.layout import Layout
from stages.sync import graph
from stages.sync.config import DEFAULT_SCALE, no_scale, scales, usual
from stages.sync.graph import Graph

_PATH = re.compile(r"^(?:.*/)?(?:specs|results/[^/]+)/|(?:/pipeline)?\.yaml$")  # of a file, where a name is expected
PUBLISHED = "paper"  # what plan and diff look at, unless another scale is named


def find_root() -> Path:
    """The nearest folder from here upwards that contains specs/scales; raises UsageError when there is none."""
    here = Path.cwd()
    try:
        str(here).encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{here}: found a path that is no text in UTF-8, with which weights cannot be read; allowed: UTF-8. Rename "
            "or move the project's directory."
        ) from None
    for folder in (here, *here.parents):
        if (folder / "specs" / "scales").is_dir():
            return folder
    raise UsageError(
        f"{here}: no project here or above. A project is a directory with specs/ (specs/scales among them), Snakefile "
        f"and dvc.yaml: go into one{_below(here)}, or make one with `stages init DIR --example tiny`."
    )


def _below(here: Path) -> str:
    """The first project of a folder, where it has one: as a message names it."""
    with suppress(OSError):
        names = sorted(one.name for one in here.iterdir() if (one / "specs" / "scales").is_dir())
        if names:
            return f" (`cd {shlex.quote(names[0])}`)"
    return ""


def usual_scale() -> str:
    """The scale of a command where none is typed: mini, or the only one of the project here."""
    try:
        return usual(scales(find_root()))
    except UsageError:  # no project: the command says so
        return DEFAULT_SCALE


def published_scale(project: Project, pipeline: str | None = None) -> str:
    """The scale that plan and diff take where none is named: paper, else mini, else the first of the pipeline."""
    scales = project.scales()
    known = project.scales_of(pipeline) if pipeline in project.files.pipelines() else scales
    usual = [scale for scale in (PUBLISHED, DEFAULT_SCALE) if scale in known]
    return next(iter([*usual, *known, *scales]), PUBLISHED)


def open_project(scale: str) -> tuple[Path, Project]:
    """Load the project; raises UsageError for a scale that it does not have."""
    root = find_root()
    project = loaded_with_scales(root)
    known = project.scales()
    if scale not in known:
        unsaid = f"Without --scale, {scale} is meant: add `--scale {known[0]}`." if scale == usual(known) else ""
        hint = near(scale, known) or unsaid
        raise UsageError(f"--scale: found {scale!r}; allowed: {', '.join(known)}. {hint}".rstrip())
    return root, project


def open_graph(scale: str) -> tuple[Layout, Project, Graph]:
    """Where results of the project here are at a scale, its specs, and its stages. Raises as `open_project`.

    Pipelines whose specs cannot be read are in `Graph.unreadable`.
    """
    root, project = open_project(scale)
    return Layout(root, scale), project, graph.readable(root, project, scale)


def loaded_with_scales(root: Path) -> Project:
    """The project `root`. Raises UserError where it has no scale at all."""
    project = Project.load(root)
    if not project.scales():
        raise no_scale(root)
    return project


def known_pipeline(
    name: str, pipelines: Iterable[str], absent: Mapping[str, Sequence[str]] | None = None, written: str | None = None
) -> str:
    """The name, if it is one of `pipelines`; raises UsageError listing them in that order. `written`: what it is of.

    `absent` are those that are not at the scale, with the scales that they are at.
    """
    known = tuple(pipelines)
    if absent is not None and name in absent:
        raise not_here(name, absent[name])
    if name not in known:
        raise unknown("pipeline", written or name, known)
    return name


def unknown(what: str, name: str, known: Sequence[str], meant: Iterable[str] = ()) -> UsageError:
    """The error about a name that there is not, with those that there are and the likeliest of them, or of `meant`."""
    of, names = "pipelines " if meant else "", tuple(meant or known)  # stages of all of which are meant
    listed = f"no {what} {name!r}; there are: {of}{', '.join(known)}."
    plain = _PATH.sub("", name).strip("/").replace("__", "/")  # Snakemake's rule of a stage is PIPELINE__STAGE
    hint = near(plain if plain in names else name, names)
    if not hint and _has_file("scales", plain):
        hint = f"{plain} is a scale: --scale {plain}."
    if not hint and what == "pipeline" and (owners := [one for one in known if _has_file(one, plain)]):
        hint = f"{plain} is a stage: did you mean {f'{owners[0]}/{plain}'!r}?"
    pipeline, _, stage = plain.partition("/")
    if not hint and pipeline in known and _has_file(pipeline, stage):  # the path of its file, or of its rule
        hint = f"Did you mean {plain!r}?" if plain != name else f"{plain} is a stage: did you mean {pipeline!r}?"
    return UsageError(f"{listed} {hint}".rstrip())


def _has_file(folder: str, name: str) -> bool:
    """Whether specs/ of the project here has a file of that name in a folder: of a pipeline's stage, of a scale."""
    return (find_root() / "specs" / folder / f"{name}.yaml").is_file()


def not_here(name: str, scales: Sequence[str]) -> UsageError:
    """The error about a pipeline that is not at the scale."""
    return UsageError(f"pipeline {name!r} is not at this scale; it is at {', '.join(scales) or 'none'}: --scale.")


def named_refs(loaded: Graph, names: Sequence[str]) -> tuple[str, ...]:
    """The refs that are named, each once and parents first: all of the graph's if none is.

    A name is pipeline/stage (pipeline/stage@count for a point of one), or a pipeline, which stands for all its stages,
    those that another's rules make too. Raises UsageError for any other, and what is wrong with the specs of a pipeline
    that is named.
    """
    if not names:
        return tuple(loaded.stages)
    named = {ref for name in names for ref in ([pick(loaded, name)[0]] if "/" in name else stages_of(loaded, name))}
    return tuple(ref for ref in loaded.stages if ref in named)


def stages_of(loaded: Graph, pipeline: str) -> tuple[str, ...]:
    """All stages of a pipeline. Raises what is wrong with its specs, and UsageError where it is not there."""
    if pipeline in loaded.unreadable:
        raise loaded.unreadable[pipeline]
    return loaded.members[known_pipeline(pipeline, sorted(loaded.members), loaded.absent)]


def stage_of(project: Project, ref: str, scale: str) -> Stage:
    """A stage of a pipeline, of which alone the specs are read: what it extends makes the stages that it has unchanged.

    Raises UsageError for what is not there, and what is wrong with the pipeline's specs.
    """
    pipeline, slash, written = ref.partition("/")
    if not (slash and written):
        owners = (one for one in sorted(project.files.pipelines()) if _has_file(one, pipeline))
        if pipeline and not slash and pipeline in project.files.pipelines():
            own = ", ".join(stages_at(project, pipeline, scale))
            raise UsageError(f"{pipeline} is a pipeline; allowed: one of its stages, {pipeline}/STAGE: {own}.")
        meant = f", such as {owner}/{pipeline}" if (owner := next(owners, "")) else ""
        raise UsageError(f"found {ref!r}; allowed: pipeline/stage{meant}.")
    name = stage_name(written)
    stages = stages_at(project, pipeline, scale)
    if name not in stages:
        raise _no_stage(pipeline, written, list(stages))
    return stages[name]


def stages_at(project: Project, pipeline: str, scale: str) -> dict[str, Stage]:
    """The stages of a pipeline by name, parents first, of which alone the specs are read. Raises as `stage_of`."""
    refuse_unknown(project, pipeline, scale)
    return project.resolve(pipeline, scale).stages


def refuse_unknown(project: Project, pipeline: str, scale: str) -> None:
    """Raise UsageError for a pipeline that is not at a scale, with those that are."""
    here = project.pipelines(variants=True, scale=scale)
    known_pipeline(pipeline, sorted(here), {one: project.scales_of(one) for one in project.absent(scale)})


def pick(loaded: Graph, ref: str) -> tuple[str, Stage]:
    """The stage called `ref`, and the ref under which its rule is: another's, where a variant has it unchanged.

    Raises UsageError listing the stages of its pipeline, or the pipelines; and what is wrong with its pipeline's specs
    where they cannot be read.
    """
    pipeline, slash, written = ref.partition("/")
    name = stage_name(written)
    ref, stages = f"{pipeline}{slash}{name}", loaded.stages
    if ref in stages:
        return ref, stages[ref]
    for shared in loaded.members.get(pipeline, ()):
        if shared.partition("/")[2] == name:
            return shared, stages[shared]
    if pipeline in loaded.unreadable:
        raise loaded.unreadable[pipeline]
    if pipeline in loaded.absent:
        raise not_here(pipeline, loaded.absent[pipeline])
    if not written and pipeline in loaded.members:
        own = ", ".join(member.partition("/")[2] for member in loaded.members[pipeline])
        raise UsageError(f"{pipeline} is a pipeline; allowed: one of its stages, {pipeline}/STAGE: {own}.")
    if beside := [member.partition("/")[2] for member in loaded.members.get(pipeline, ())]:
        raise _no_stage(pipeline, written, beside)
    if not slash:  # a stage without its pipeline, or no name at all
        raise unknown("pipeline", ref, sorted(loaded.members))
    raise unknown("stage", ref, sorted(loaded.members), stages)


def _no_stage(pipeline: str, written: str, names: Sequence[str]) -> UsageError:
    """The error about a stage that a pipeline does not have, or a point that none of its stages starts from."""
    try:
        point = points.read(written)
    except quantities.BadQuantity as error:
        return UsageError(
            f"{pipeline}/{written}: found {error.found}; allowed: {error.allowed}. {error.repair}".rstrip()
        )
    if point is None or point.trunk not in names:
        return unknown("stage", f"{pipeline}/{stage_name(written)}", [f"{pipeline}/{one}" for one in names])
    return UsageError(
        f"{pipeline}/{written}: no stage starts there, so it is no point of {point.trunk} yet. Write `from: {written}` "
        "in the stage that does; `stages check` says whether a step ends there."
    )
