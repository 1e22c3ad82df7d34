"""Which findings a stage's waivers excuse, and what is wrong with a waiver that excuses none."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from stages.check import facts
from stages.check.findings import Finding
from stages.spec.resolved import Stage, Waiver


def waive(stage: Stage | None, finding: Finding) -> Finding:
    """The finding, with the reason of the waiver that excuses all of it, if the stage has one."""
    for waiver in stage.waivers if stage is not None else ():
        if excuses(waiver, finding):
            return replace(finding, waived=waiver.reason)
    return finding


def excuses(waiver: Waiver, finding: Finding) -> bool:
    """Whether a waiver is of the finding's invariant, names each of its places and as much as was found."""
    named = waiver.id == finding.id and bool(finding.at) and set(finding.at) <= set(waiver.at)
    return named and facts.within(finding.found, waiver.found)


def difference(waiver: Waiver, findings: Collection[Finding]) -> str:
    """How an idle waiver differs from what was found on its stage under its id; empty where nothing was found."""
    same = [one for one in findings if one.id == waiver.id and one.at]
    near = [one for one in same if set(one.at) <= set(waiver.at)] or same
    places = list(dict.fromkeys(one.at for one in near))
    told = []
    for at in places:
        found = facts.largest(one.found for one in near if one.at == at)
        told += [f"{one} at {', '.join(at)}" for one in found]
    return "; ".join(told)
