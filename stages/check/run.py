"""Runs the checks over pipelines: what `stages check` and the tests call."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Literal, TypeAlias

from stages.check import catalogue
from stages.check.context import Context
from stages.check.findings import SPEC, Finding
from stages.check.waivers import idle_waivers, waive
from stages.contract import hardware
from stages.contract.hardware import Hardware
from stages.errors import InvalidSpecs, SpecError, Where
from stages.spec.loader_data import load_hardware
from stages.spec.project import Project
from stages.spec.resolved_pipeline import ResolvedPipeline

DEVICES: tuple[Literal["cpu", "cuda"], ...] = ("cpu", "cuda")
Known: TypeAlias = dict[tuple[str, str], list[Finding]]  # findings by pipeline and scale
EVERY_SCALE = "every scale"  # where a finding is of a file that no scale changes


def run(project: Project, scale: str, only: Collection[str] = (), known: Known | None = None) -> list[Finding]:
    """Findings of every pipeline and variant at a scale, those with a waiver marked as such.

    `only` names invariants; empty means all. Specs that cannot be resolved are findings of id "spec". `known` are
    those of scales before. Raises UsageError for an unknown scale.
    """
    found, known = outside_pipelines(project, scale), {} if known is None else known
    for name in project.pipelines(variants=True):
        found.extend(_findings(project, name, scale, only, known))
    return list(dict.fromkeys(found))


def run_one(project: Project, scale: str, only: Collection[str] = ()) -> list[Finding]:
    """Findings at a scale, also of waivers that waive nothing there and at no other scale (S-07)."""
    found = run(project, scale, only)
    if only or any(finding.id == SPEC for finding in found):
        return found
    names = [name for name in project.pipelines(variants=True) if project.has(name, scale)]
    return [*found, *(one for name in names for one in _idle_here(project, project.resolve(name, scale), found))]


def run_all(project: Project, only: Collection[str] = ()) -> list[Finding]:
    """Findings at every scale, and of specs/hardware; a waiver that waives nothing at any scale is one too (S-07)."""
    known: Known = {}
    found = [finding for scale in project.scales() for finding in run(project, scale, only, known)]
    found += [*_hardware(project), *_nowhere(project)]
    broken = any(finding.id == SPEC for finding in found)
    if only or broken:
        return found
    return [*found, *(one for name in project.pipelines(variants=True) for one in _idle(project, name, found))]


def _findings(project: Project, name: str, scale: str, only: Collection[str], known: Known) -> list[Finding]:
    """Those of one pipeline at a scale, which are put into `known`.

    No check reads a seed: where a scale has other seeds than another and nothing else of its own, both have the same
    findings. What is wrong with specs is named by that scale's own file.
    """
    if (name, scale) not in known:
        base = project.reseeds(name, scale)
        there = None if base is None else _findings(project, name, base, only, known)
        if there is None or any(one.id == SPEC for one in there):
            known[name, scale] = _checked(project, name, scale, only, known)
        else:
            known[name, scale] = [replace(one, scale=scale) for one in there]
    return known[name, scale]


def _checked(project: Project, name: str, scale: str, only: Collection[str], known: Known) -> list[Finding]:
    try:
        context = make_context(project, name, scale) if project.has(name, scale) else None
    except InvalidSpecs as error:
        known[name, scale] = []  # while what it extends is checked: two files may extend each other
        there = set(_extended(project, name, scale, only, known))
        found = [_unresolved(scale, one) for one in error.errors]
        pipelines = project.pipelines(variants=True)
        return [one if one in there else _of_variant(one, name, pipelines) for one in found]
    return [] if context is None else list(check(context, only))


def unread(project: Project, pipeline: str, scale: str) -> set[Finding]:
    """Why a pipeline cannot be checked at a scale: mistakes of its files, and of others that it needs."""
    try:
        if project.has(pipeline, scale):
            make_context(project, pipeline, scale)
    except InvalidSpecs as error:
        return {_unresolved(scale, one) for one in error.errors}
    return set()


def _extended(project: Project, name: str, scale: str, only: Collection[str], known: Known) -> list[Finding]:
    """The findings of what a pipeline extends; none where that is nothing, or itself."""
    above = project.extends(name)
    known_ones = project.pipelines(variants=True)
    return [] if above in (None, name) or above not in known_ones else _findings(project, above, scale, only, known)


def _of_variant(finding: Finding, name: str, pipelines: Collection[str]) -> Finding:
    """A mistake that only a variant makes of another pipeline's file is the variant's, whose stage has it."""
    pipeline, _, stage = finding.stage.partition("/")
    return replace(finding, stage=f"{name}/{stage}") if pipeline in pipelines else finding


def _idle(project: Project, name: str, found: Collection[Finding]) -> Iterator[Finding]:
    scale = project.scales_of(name)[0]
    return idle_waivers(project.resolve(name, scale), scale, found)


def _nowhere(project: Project) -> Iterator[Finding]:
    """Pipelines that are at no scale: they would never be checked."""
    with suppress(InvalidSpecs):  # of a scale's file, which is a finding of its own
        for scale in project.scales():
            project.scale(scale)
        for name in project.pipelines(variants=True):
            if not project.scales_of(name):
                yield Finding(
                    SPEC, EVERY_SCALE, name, None, f"pipeline: {name!r}, which no scale has an entry for",
                    "pipelines that are at one scale at least", "Add it below `pipelines:` of a file in specs/scales.",
                    Where(f"specs/{name}/pipeline.yaml", 1),
                )  # fmt: skip


def outside_pipelines(project: Project, scale: str) -> list[Finding]:
    """What is of no pipeline: files below specs/ that no command reads, pipelines of a scale that there are not."""
    return [_unresolved(scale, error) for error in (*project.strays, *project.unknown_in(scale))]


def _hardware(project: Project) -> Iterator[Finding]:
    """Machines are of no scale: no stage that runs reads them, so that they are checked with everything alone."""
    for name in project.files.names("hardware"):
        try:
            raw = load_hardware(project.files, name)
            wanted = next((one for one in DEVICES if hardware.usual(one) == name), raw.device)
            if raw.device != wanted:
                document = project.files.entry("hardware", name)
                repair = f"Scales on {wanted} are priced on this machine; write another one into a file of its own."
                raise document.error(("device",), raw.device, wanted, repair)
        except InvalidSpecs as error:
            yield from (_unresolved(EVERY_SCALE, one) for one in error.errors)


def run_pipeline(project: Project, pipeline: str, scale: str) -> list[Finding]:
    """Findings of one pipeline at a scale; those of its waivers too (S-07).

    For a waiver that this scale does not need, every other scale is checked: one finding there is enough.
    What is wrong at another scale is no finding of this one; a waiver may then be for that one, and none is reported of
    it. Raises InvalidSpecs where specs cannot be resolved.
    """
    context = make_context(project, pipeline, scale)
    found = list(dict.fromkeys(check(context)))
    return [*found, *_idle_here(project, context.pipeline, found)]


def _idle_here(project: Project, pipeline: ResolvedPipeline, found: Collection[Finding]) -> list[Finding]:
    """Waivers that neither the pipeline's scale, of which `found` has the findings, nor another one needs."""
    scale, name = pipeline.scale, pipeline.name
    if next(idle_waivers(pipeline, scale, found), None) is not None:
        others = [other for other in project.scales() if other != scale and project.has(name, other)]
        with suppress(InvalidSpecs):
            there = [make_context(project, name, other) for other in others]
            return list(idle_waivers(pipeline, scale, [*found, *(one for other in there for one in check(other))]))
    return []


def check(context: Context, only: Collection[str] = ()) -> Iterator[Finding]:
    """Findings of one pipeline at one scale."""
    for invariant in catalogue.ordered():
        if invariant.check is not None and (not only or invariant.id in only):
            for finding in invariant.check(context):
                yield waive(context.pipeline, context.by_ref, finding)


def make_context(project: Project, pipeline: str, scale: str) -> Context:
    """What the checks of a pipeline at a scale are given. Raises InvalidSpecs where specs cannot be resolved."""
    loaded, others = project.loaded(pipeline), tuple(one for one in project.loadable if one.name != pipeline)
    return Context(
        pipeline=project.resolve(pipeline, scale),
        full=_full(project, pipeline, scale),
        extended=project.resolve(loaded.raw.extends, scale) if loaded.raw.extends is not None else None,
        loaded=loaded,
        others=others,
        all_read=len(others) + 1 == len(project.pipelines(variants=True)),
        data=project.data,
        hardware=priced_on(project, scale),
        shrink=project.shrink(pipeline, scale),
    )


def priced_on(project: Project, scale: str) -> Hardware | None:
    """The machine that a scale is priced on; a mistake in its file is a finding of its own."""
    with suppress(InvalidSpecs):
        raw = project.machine(hardware.usual(project.scale(scale).device))
        return None if raw is None else hardware.of_raw(raw)
    return None


def _full(project: Project, pipeline: str, scale: str) -> ResolvedPipeline | None:
    """What a smaller scale is compared with: the pipeline at a scale that shrinks nothing, the published one if any.

    Mistakes at that scale are findings of that scale, and not of this one.
    """
    found: list[ResolvedPipeline] = []
    for other in project.scales() if project.shrink(pipeline, scale).shrink is not None else ():
        with suppress(InvalidSpecs):
            raw = project.scale(other)
            if project.has(pipeline, other) and project.shrink(pipeline, other).shrink is None:
                published = raw.corpora == "published" and raw.releases == "given"
                found.insert(0 if published else len(found), project.resolve(pipeline, other))
    return next(iter(found), None)


def _unresolved(scale: str, error: SpecError) -> Finding:
    """Named by its file, so that what several pipelines share is reported once."""
    name = error.where.file.removeprefix("specs/").removesuffix(".yaml")
    found = f"{error.key}: {error.found}"
    return Finding(
        SPEC, scale, name, None, found, error.allowed, error.repair, error.where, invariant=error.invariant
    )  # fmt: skip
