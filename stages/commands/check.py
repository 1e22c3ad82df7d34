"""`stages check`: every invariant that specs can decide, over all pipelines and readings."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress

from rich.text import Text

from stages.check import catalogue, facts
from stages.check.findings import FILES, SPEC, Finding, unwaived
from stages.check.notices.run import notices
from stages.check.registry import Invariant
from stages.check.run import run_all, run_one, unread
from stages.commands.find_project import find_root, known_pipeline, open_project, unknown
from stages.errors import InvalidSpecs
from stages.printable import print_json
from stages.spec.project import Project
from stages.store import prepared_here
from stages.terminal import Console

TITLES = {SPEC: "The spec cannot be used", FILES: "A prepared corpus is not whole"}
KINDS = {
    "static": "decided from specs",
    "guard": "by the code that builds and runs a stage, and by tests of it",
    "test": "a property of the code, by tests",
}


def run_checks(scale: str | None, as_json: bool, only: Sequence[str] = (), named: Sequence[str] = ()) -> int:
    """Print every finding at a scale, or at all of them; exit code 1 if any is not waived.

    Where pipelines or stages are named, everything is checked and what is found about these is printed. Raises
    UsageError for names that there are not.
    """
    wanted = {catalogue.find(id).id for id in only}
    project = Project.load(find_root()) if scale is None else open_project(scale)[1]
    scales = project.scales() if scale is None else [scale]
    places = _places(project, named)
    found = run_all(project, wanted) if scale is None else run_one(project, scale, wanted)
    found += [] if wanted else prepared_here.lost(project, project.files.root, scales)
    pipelines = {place.partition("/")[0] for place in places}
    unchecked = {one for name in pipelines for at in scales for one in unread(project, name, at)}
    found = [one for one in found if not places or _is_about(one, places) or one in unchecked]
    printed = [*notices(project, scales), *prepared_here.changed_sources(project, project.files.root, scales)]
    if as_json:
        for notice in printed:
            print(f"notice: {notice}", file=sys.stderr)
        print_json([finding.as_dict() for finding in found])
    else:
        console = Console(highlight=False, soft_wrap=True)
        groups = _grouped(found)
        for group in groups:
            console.print(_shown(group))
        for notice in printed:
            console.print(f"notice: {notice}")
        heads = [group[0] for group in groups]
        for line in _absent(project, scales):
            console.print(line)
        console.print(_summary(heads, len(project.pipelines(variants=True)), len(scales), wanted, named))
    return 1 if unwaived(found) else 0


def _places(project: Project, named: Sequence[str]) -> frozenset[str]:
    """The pipelines and stages that are named. Raises UsageError for those that there are not."""
    for name in named:
        pipeline, slash, stage = name.partition("/")
        known_pipeline(pipeline, project.pipelines(variants=True), written=name)
        with suppress(InvalidSpecs):  # one that cannot be read is a finding of its own
            stages = list(project.loaded(pipeline).stages)
            if slash and stage not in stages:
                raise unknown("stage", name, [f"{pipeline}/{one}" for one in stages])
    return frozenset(named)


def _is_about(finding: Finding, places: Collection[str]) -> bool:
    """A finding about a whole pipeline is about each of its stages; one about a stage, about its pipeline."""
    pipeline = finding.stage.partition("/")[0]
    return bool({finding.stage, pipeline} & set(places)) or (
        finding.stage == pipeline and any(place.startswith(f"{pipeline}/") for place in places)
    )


def _absent(project: Project, scales: Sequence[str]) -> Iterator[str]:
    """A line for each scale at which some pipelines are not; a scale that cannot be read is a finding already."""
    for scale in scales:
        with suppress(InvalidSpecs):
            if names := project.absent(scale):
                yield f"not at scale {scale}: {', '.join(names)}"


def print_explanation(id: str) -> int:
    """Print what an invariant says, why it matters, who met it, what ensures it. Raises UsageError for unknown ids."""
    Console(highlight=False).print(_explained(catalogue.find(id)))
    return 0


def _grouped(found: Sequence[Finding]) -> list[list[Finding]]:
    """The same fault at several scales is one to correct: the n-th of its kind at each scale."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    seen: Counter[tuple[object, ...]] = Counter()
    for one in found:
        fault = (one.id, one.stage, one.edge, one.where, one.waived, one.at, one.id == FILES and one.observed)
        seen[*fault, one.scale] += 1
        groups.setdefault((*fault, seen[*fault, one.scale]), []).append(one)
    return list(groups.values())


def _shown(group: Sequence[Finding]) -> Text:
    """A fault on a few lines: the place, then what to do; figures are those of the first scale that has it."""
    finding = group[0]
    invariant = catalogue.get(finding.id)
    title = invariant.title if invariant is not None else TITLES[finding.id]
    if finding.invariant:
        title += f": {finding.invariant} {catalogue.find(finding.invariant).title}"
    scales = ", ".join(dict.fromkeys(one.scale for one in group))
    text = Text()
    text.append(f"{finding.where}: ", style="bold")
    head = f"{finding.id} {title}{' (waived)' if finding.waived else ''}\n"
    text.append(head, style="yellow" if finding.waived else "bold red")
    text.append(f"  {finding.edge or finding.stage}, at {scales}\n")
    text.append(f"  found     {finding.observed}\n  expected  {finding.expected}\n")
    if finding.waived is not None:  # nothing is to be repaired
        text.append(f"  waived    {finding.waived}\n", style="yellow")
        return text
    text.append(f"  repair    {finding.repair}\n")
    if finding.at:
        places = finding.at[0] if len(finding.at) == 1 else f"[{', '.join(finding.at)}]"
        for found in facts.largest(one.found for one in group):
            text.append(f"  to waive  at: {places}; found: {found}\n", style="dim")
    return text


def _summary(found: Sequence[Finding], pipelines: int, scales: int, wanted: set[str], named: Sequence[str]) -> Text:
    numbered = catalogue.ordered(prefix="I-")
    checked = sum(one.check is not None and (not wanted or one.id in wanted) for one in numbered)
    shapes = sum(not wanted or one.id in wanted for one in catalogue.ordered(prefix="S-"))
    bad = len(unwaived(found))
    text = f"{checked} of {len(numbered)} invariants"
    text += f" and {shapes} shapes" if shapes else ""
    text += f" checked on {pipelines} pipeline{'s' * (pipelines != 1)} at {scales} scale{'s' * (scales != 1)}"
    text += f": {bad} finding{'s' * (bad != 1)}"
    text += f" about {', '.join(named)}" if named else ""
    return Text(f"{text} ({len(found) - bad} waived)", style="bold red" if bad else "bold green")


def _explained(invariant: Invariant) -> Text:
    from stages.guards import run as guards  # needs numpy, which `stages check` does without

    text = Text()
    text.append(f"{invariant.id} {invariant.title}\n", style="bold")
    text.append(f"\nRule. {invariant.rule}\n\nWhy. {invariant.why}\n")
    if invariant.threads:
        text.append(f"\nReported in {', '.join(invariant.threads)}.\n")
    text.append(f"\nEnsured: {KINDS[invariant.kind]}")
    text.append(f" ({', '.join(invariant.held_by)}).\n" if invariant.held_by else ".\n")
    holding = guards.names(invariant.id)
    if holding:
        text.append(f"Guarded while a stage runs: {', '.join(holding)}.\n")
    return text
