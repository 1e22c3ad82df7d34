"""Runs that go on under another key than the wanted one: of a spec that has been edited since they began."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stages.store import attempts, lease, progress
from stages.store.holder import NAME as LEASE
from stages.store.holder import Holder
from stages.store.layout import Layout
from stages.store.progress import Progress


@dataclass(frozen=True)
class OtherRun:
    """A living run of a stage, under which key, by whom, and how far it is."""

    ref: str
    key: str
    holder: Holder
    progress: Progress | None

    def __str__(self) -> str:
        far = f", step {self.progress.step:,} of {self.progress.steps:,}" if self.progress else ""
        return (
            f"{self.ref}: {self.holder} still runs what its spec was before (key {self.key[:12]}{far}). Its result "
            "will take the stage's place, until `snakemake` puts the wanted one there; end it if nobody needs it."
        )


def of_other_keys(layout: Layout, keys: Mapping[str, str]) -> Iterator[OtherRun]:
    """The living runs of these stages, at this scale, under keys that none of them has."""
    wanted = set(keys.values())
    for path in sorted(layout.results.glob(f".runs/*/{LEASE}")):
        key = path.parent.name
        holder = None if key in wanted else lease.holder(path.parent)
        for folder in attempts.folders(layout, key)[:1] if holder else ():
            ref = attempts.of(folder, layout.scale)
            if holder is not None and ref is not None and ref in keys:
                yield OtherRun(ref, key, holder, progress.read(folder))
