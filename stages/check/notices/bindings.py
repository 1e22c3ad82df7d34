"""Which published corpora are bound to local ones at a scale, and how much is read of those that are not."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from stages.spec.project import Project


@dataclass(frozen=True)
class Unbound:
    """A published corpus that nothing local is bound to, and how much of it the longest lineage reads, at least.

    0: evaluations alone read it.
    """

    corpus: str
    kind: str
    needed: int
    unit: str


def unbound(project: Project, scale: str, pipelines: Collection[str] | None = None) -> list[Unbound]:
    """What has to be bound before pipelines (None: all) can be run at a scale; nothing of those that cannot be read."""
    if not project.scale(scale).has_corpora:
        return []
    found: dict[str, Unbound] = {}
    kinds = project.data.kinds
    for name, pipeline in project.resolve_all(scale)[0].items():
        for stage in pipeline.stages.values() if pipelines is None or name in pipelines else ():
            for phase in stage.evaluated_on:
                for source in phase.sources:
                    known = found.get(source.corpus)
                    if not source.digest and (known is None or known.needed < source.end):
                        unit = "tokens" if phase.unit == "tokens" else "pairs"
                        found[source.corpus] = Unbound(source.corpus, kinds[source.corpus], source.end, unit)
    return [found[name] for name in sorted(found)]


def notice(project: Project, scale: str) -> Iterator[str]:
    """One line about them, for `stages check`."""
    if names := unbound(project, scale):
        yield (
            f"{scale}: {len(names)} published corpora are not bound to local ones in specs/data/bind.yaml: "
            f"`stages plan --scale {scale}` says how much of each is read."
        )


def table(project: Project, scale: str, pipelines: Collection[str]) -> Iterator[str]:
    """Each of them in a line, for `stages plan`."""
    names = unbound(project, scale, pipelines)
    if names:
        yield f"{scale}: not bound to local corpora in specs/data/bind.yaml; at least so much is read of each:"
    width = max((len(one.corpus) for one in names), default=0)
    yield from (f"  {one.corpus:{width}}  {one.kind:10}  {_needed(one)}" for one in names)


def _needed(unbound: Unbound) -> str:
    return f"{unbound.needed:>22,} {unbound.unit}" if unbound.needed else f"{'what is held out':>22}"
