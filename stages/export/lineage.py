"""Where an exported model comes from: the stages it descends from, as far as their results are in place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stages.errors import UserError
from stages.export.result import Result
from stages.report import metrics
from stages.report.metrics import StageResult
from stages.report.number_format import count, rate
from stages.spec.schema.releases import RawReleaseFiles
from stages.store import manifest
from stages.store.layout import Layout
from stages.store.manifest import Parent


@dataclass(frozen=True)
class Ancestor:
    """A stage of a lineage: key and manifest digest as they were built on, and its result where that is in place."""

    ref: str
    made: Parent
    result: StageResult | None

    @property
    def budget(self) -> str:
        """What it trained on, in words."""
        stage = self.result.stage if self.result else None
        return "" if stage is None or not stage.phases else f"{count(stage.budget)} {stage.phases[0].unit}"

    @property
    def learning_rate(self) -> str:
        """Its first and its last learning rate."""
        steps = self.result.metrics if self.result else None
        return "" if steps is None else f"{rate(float(steps['lr'].iloc[0]))} → {rate(float(steps['lr'].iloc[-1]))}"


def lineage(result: Result) -> list[Ancestor]:
    """The stage itself and all that it descends from, each once, children first."""
    record = manifest.read(result.layout.manifest(result.ref))
    own = Parent(key=record.key, manifest=manifest.identity(record))
    found: dict[str, Ancestor] = {}
    waiting = [(result.ref, own)]
    while waiting:
        ref, made = waiting.pop(0)
        if ref not in found:
            found[ref] = Ancestor(ref, made, _in_place(result.layout, ref, made))
            waiting += sorted(found[ref].result.manifest.parents.items()) if found[ref].result else []  # type: ignore[union-attr]
    return list(found.values())


def _in_place(layout: Layout, ref: str, made: Parent) -> StageResult | None:
    """The very result that was built on; None where another one is there now, or none that can be read."""
    try:
        there = metrics.read(layout.stage(manifest.renamed(layout, ref, made.key)))
    except UserError:
        return None
    return there if there.manifest.key == made.key else None


def releases(result: Result, ancestors: list[Ancestor]) -> list[RawReleaseFiles]:
    """The released models whose weights are in a lineage, each once."""
    names = dict.fromkeys(name for one in ancestors for name in _released(one))
    return [result.data.releases[name] for name in names if name in result.data.releases]


def _released(ancestor: Ancestor) -> Iterator[str]:
    if ancestor.result is not None:
        for init in ancestor.result.stage.init.values():
            if init.weights == "release" and not init.stand_in and init.release is not None:
                yield init.release


def corpora(ancestors: list[Ancestor]) -> dict[str, str]:
    """Corpora that a lineage was trained on, with their digests, in order of their names."""
    stages = [one.result.stage for one in ancestors if one.result]
    found = {s.corpus: s.digest for stage in stages for phase in stage.phases for s in phase.sources}
    return dict(sorted(found.items()))
