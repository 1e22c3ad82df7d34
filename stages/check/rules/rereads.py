"""What is read again after `data: restart`: the part of I-18 that counts it as epochs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stages.check.context import Context
from stages.check.findings import Finding
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase, Source
from stages.spec.schema.stages import RawTrain


@dataclass(frozen=True)
class Again:
    """A corpus of a phase, a stretch of which an ancestor has read before the data was restarted."""

    number: int  # of the phase
    corpus: str
    start: int
    end: int
    who: str
    epochs: int  # the ancestor's


def undeclared_rereads(context: Context) -> Iterator[Finding]:
    """One finding (I-18) for a stage that learns again what its trained modules have learned, and does not say so.

    A stage that continues begins after everything that its ancestors have read, before a restart too (spec/ranges.py).
    Corpora are compared by the names in the mixtures: at small scales one local corpus takes the place of many.
    """
    for name, stage in context.own:
        if stage.data != "restart" or _declared(context, name):
            continue
        again = rereads(context, name, stage)
        if again:
            first = again[0]
            others = sorted({one.corpus for one in again} - {first.corpus})
            own = stage.phases[first.number].epochs
            passes = own + sum(one.epochs for one in again if _same_stretch(one, first))
            yield context.finding(
                "I-18", name, ("init", "data"), parent=first.who,
                observed=f"{first.corpus} [{first.start:,}, {first.end:,}) again"
                + (f" ({', '.join(others)} too)" if others else "")
                + f", after {first.who}: {passes} epochs along the lineage, of which the phase declares {own}",
                expected="stretches that the lineage has not read, or a declared second reading",
                repair="Write `data: continue`, or `reread: <reason>` beside `data: restart`.",
                found=", ".join([first.corpus, *others]),
            )  # fmt: skip


def rereads(context: Context, name: str, stage: Stage) -> list[Again]:
    """What a stage reads that its trained modules have learned from, the nearest ancestor's first."""
    return [found for ref in _trained_above(context, stage) for found in _again(context, name, stage, ref)]


def _same_stretch(one: Again, first: Again) -> bool:
    return (one.number, one.corpus) == (first.number, first.corpus) and one.start < first.end and first.start < one.end


def _declared(context: Context, name: str) -> bool:
    raw = context.loaded.stages[name].raw
    return isinstance(raw, RawTrain) and raw.init.reread is not None


def _trained_above(context: Context, stage: Stage) -> list[str]:
    """Ancestors that trained a module that this stage trains, the nearest first."""
    found: dict[str, None] = {}
    for module in stage.trained:
        waiting = _came_from(stage, module)
        for ref in waiting:  # grows on the way
            above = context.by_ref.get(ref)
            if above is None:
                continue
            if module in above.trained:
                found[ref] = None
            waiting += [one for one in _came_from(above, module) if one not in waiting]
    return list(found)


def _came_from(stage: Stage, module: str) -> list[str]:
    """What a module's weights are from: of a merge, all its parents."""
    init = stage.init.get(module)
    if init is not None and init.weights == "merge":
        return list(stage.parents)
    return [init.parent] if init is not None and init.parent is not None else []


def _again(context: Context, name: str, stage: Stage, ref: str) -> Iterator[Again]:
    parent = ref.rpartition("/")[2]
    for number, phase in enumerate(stage.phases):
        mine = _stretches(context, name, number, phase)
        for other, earlier in enumerate(context.by_ref[ref].phases):
            theirs = _stretches(context, parent, other, earlier)
            for corpus in (one for one in mine if one in theirs):
                start = max(mine[corpus].start, theirs[corpus].start)
                end = min(mine[corpus].end, theirs[corpus].end)
                if start < end:
                    yield Again(number, corpus, start, end, ref, earlier.epochs)


def _stretches(context: Context, name: str, number: int, phase: Phase) -> dict[str, Source]:
    """The stretch that a phase reads of each corpus, by the name that its mixture writes."""
    read = {source.corpus: source for source in phase.sources}
    found = {}
    for written in context.mixture(name, number):
        names = (context.data.read_as(written.corpus, published) for published in (True, False))
        source = next((read[one] for one in names if one in read), None)
        if source is not None:
            found[written.corpus] = source
    return found
