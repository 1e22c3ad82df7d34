"""Which findings the waivers of a stage or of a pipeline excuse, and what is wrong with a waiver (S-07)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from stages.check import facts
from stages.check.findings import Finding
from stages.check.registry import REGISTRY
from stages.errors import Where
from stages.spec.files import written_by
from stages.spec.resolved import Stage, Waiver
from stages.spec.resolved_pipeline import ResolvedPipeline


@dataclass(frozen=True)
class Holder:
    """A stage or a whole pipeline (`ref`) with its waivers and the line of each."""

    ref: str
    waivers: tuple[Waiver, ...]
    lines: tuple[Where, ...]


def holders(pipeline: ResolvedPipeline) -> Iterator[Holder]:
    """The pipeline itself and its own stages, where they have waivers."""
    if pipeline.waivers:
        lines = tuple(pipeline.listing.where(("waivers", number)) for number in range(len(pipeline.waivers)))
        yield Holder(pipeline.name, pipeline.waivers, lines)
    for name in pipeline.own:
        waivers = pipeline.stages[name].waivers
        if waivers:
            lines = tuple(pipeline.where(name, "waivers", number) for number in range(len(waivers)))
            yield Holder(pipeline.refs[name], waivers, lines)


def waive(pipeline: ResolvedPipeline, stages: Mapping[str, Stage], finding: Finding) -> Finding:
    """The finding, with the reason of the waiver that excuses all of it, if its stage or pipeline has one."""
    stage = stages.get(finding.stage)
    for waiver in stage.waivers if stage is not None else pipeline.waivers:
        if excuses(waiver, finding):
            return replace(finding, waived=waiver.reason)
    return finding


def excuses(waiver: Waiver, finding: Finding) -> bool:
    """Whether a waiver is of the finding's invariant, names each of its places and as much as was found."""
    named = waiver.id == finding.id and bool(finding.at) and set(finding.at) <= set(waiver.at)
    return named and facts.within(finding.found, waiver.found)


def idle_waivers(pipeline: ResolvedPipeline, scale: str, found: Collection[Finding]) -> Iterator[Finding]:
    """S-07: waivers that excuse none of the findings at all scales, or far more than any of them.

    A finding says what is found instead; `scale` is the one that it names. What is written once for several
    stages, the variants of a sweep, is checked once, and excuses something where one of them needs it. What a pipeline
    takes from the one that it extends is checked there.
    """
    written: dict[Where, list[Holder]] = {}
    for holder in holders(pipeline):
        for where in holder.lines:
            written.setdefault(where, []).append(holder)
    checked: set[Where] = set()
    for holder in holders(pipeline):
        for number, (waiver, where) in enumerate(zip(holder.waivers, holder.lines, strict=True)):
            if waiver.id not in REGISTRY:
                continue  # which is a finding already
            if where in checked or not written_by(pipeline.name, where):
                continue
            checked.add(where)
            mine = [one for one in found if any(_of(sharing, one) for sharing in written[where])]
            if any(_again(waiver, other) for other in holder.waivers[:number]):
                what = f"a waiver of {waiver.id} that excuses {waiver.found} a second time"
                yield Finding(
                    "S-07", scale, holder.ref, None, what, "each waiver once", "Remove one of the two.", where
                )  # fmt: skip
                continue
            excused = [one for one in mine if excuses(waiver, one)]
            named = {at for one in excused for at in one.at}
            unused = [at for at in waiver.at if at not in named]
            if excused and not unused and not all(facts.far(waiver.found, one.found) for one in excused):
                continue
            other = _found_instead(waiver, excused or mine)
            what = f"excuses {waiver.found} at {', '.join(unused if excused and unused else waiver.at)}"
            yield Finding(
                "S-07", scale, holder.ref, None, f"a waiver of {waiver.id} that {what}",
                f"what is found there: {other}" if other else f"something that breaks {waiver.id} at some scale",
                "A waiver names exactly what it excuses: correct `at` and `found`, or the spec."
                if other else "Take the waiver out: nothing needs it any more.", where,
            )  # fmt: skip


def _again(one: Waiver, other: Waiver) -> bool:
    """Whether two waivers excuse the same somewhere."""
    return (one.id, one.found) == (other.id, other.found) and bool(set(one.at) & set(other.at))


def _of(holder: Holder, finding: Finding) -> bool:
    """S-11 is of a pipeline's file, "name/pipeline", and keeps no stage from being run."""
    return finding.stage in (holder.ref, f"{holder.ref}/pipeline")


def _found_instead(waiver: Waiver, findings: Collection[Finding]) -> str:
    """What was found under the waiver's id, at its places if anything; empty where nothing was found."""
    same = [one for one in findings if one.id == waiver.id and one.at]
    near = [one for one in same if set(one.at) <= set(waiver.at)] or same
    places = list(dict.fromkeys(one.at for one in near))
    entries = []
    for at in places:
        found = facts.largest(one.found for one in near if one.at == at)
        entries += [f"{one} at {', '.join(at)}" for one in found]
    return "; ".join(entries)
