"""Findings of guards: the same kind as those of `stages check`, and the error that stops a stage."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from stages.check.facts import ARROW
from stages.check.findings import Finding, unwaived
from stages.errors import UserError
from stages.spec.resolved import Stage

SHOWN = 3


class GuardError(UserError):
    """What was built or done is not what was specified; nothing of it is put in place."""

    repeats = True

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        first = self.findings[0]
        files = f"`stages show {first.stage} --scale {first.scale}` names the spec's files."
        super().__init__("\n".join([*map(str, self.findings), files]))


def finding(
    stage: Stage, id: str, *, observed: str, expected: str, repair: str, at: str, edge: str | None = None
) -> Finding:
    """A finding about a stage at run time, at a module or phase; `edge` is the parent whose hand-over is at fault.

    What is measured in a run has other figures than specs have, so a waiver of the invariant excuses what is found at
    the module or phase that it names.
    """
    ref = stage.ref
    arrow = f"{edge} -> {ref}" if edge else None
    named = (one.reason for one in stage.waivers if one.id == id and any(_names(place, at) for place in one.at))
    return Finding(id, stage.scale, ref, arrow, observed, expected, repair, None, next(named, None), (at,))


def _names(place: str, at: str) -> bool:
    """Whether a waiver's place is a module or phase, or lies in it: phases.main.data names phases.main."""
    return at in place.partition(ARROW)[2].split(".") or place == at or place.startswith(f"{at}.")


def refuse(found: Iterable[Finding]) -> None:
    """Raise GuardError for the findings that the spec gives no reason for."""
    bad = unwaived(found)
    if bad:
        raise GuardError(bad)


def differing(one: Mapping[str, str] | None, other: Mapping[str, str] | None) -> list[str]:
    """Names of tensors whose digests are not the same in both, sorted; None has no tensors."""
    left, right = one or {}, other or {}
    return sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))


def some(names: Collection[str] | Mapping[str, float]) -> str:
    """The first few of them, in brackets."""
    shown = [f"{name} {names[name]!r}" if isinstance(names, Mapping) else name for name in list(names)[:SHOWN]]
    return f"({', '.join(shown)}{', ...' if len(names) > SHOWN else ''})"
