"""Loose ends of a pipeline that may be meant: notices, and no findings."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import permutations

from stages.spec import points, units
from stages.spec.graph import descends_from
from stages.spec.loader import LoadedPipeline
from stages.spec.loader_data import LoadedData
from stages.spec.resolved_models import LANGUAGE_MODELS
from stages.spec.schema.edges import AT
from stages.spec.schema.stages import RawExport, RawMerge, RawTrain
from stages.spec.variants import RawVariant, sweeps

LEAST_SHARE = Fraction(1, 100)  # of a parent of a merge


def loose_ends(loaded: LoadedPipeline) -> Iterator[str]:
    """A notice for each loose end."""
    yield from _passed_by(loaded)
    yield from _averages(loaded)
    yield from _hardly_merged(loaded)
    yield from _mostly_older(loaded)
    yield from _partly_merged(loaded)
    yield from _unused_sweeps(loaded)
    yield from _out_of_order(loaded)


def _passed_by(loaded: LoadedPipeline) -> Iterator[str]:
    """Where nothing is exported, so that I-38 is silent: a stage that one of another objective or context passes by.

    The values of a sweep may be there to be compared, and nothing more.
    """
    if any(isinstance(stage.raw, RawExport) for stage in loaded.stages.values()):
        return
    froms = {name: points.starts_from(stage.raw) for name, stage in loaded.stages.items()}
    named = set().union(*froms.values()) if froms else set()
    trained = [name for name, stage in loaded.stages.items() if isinstance(stage.raw, RawTrain)]
    for number, name in enumerate(trained):
        later = next((one for one in trained[number + 1 :] if froms[one] & froms[name]), None)
        one, other = loaded.stages[name].raw, loaded.stages[later].raw if later is not None else None
        if name in named or isinstance(one, RawVariant) or not isinstance(one, RawTrain):
            continue
        if later is None or not isinstance(other, RawTrain):
            continue
        if _kinds(one) != _kinds(other):
            where, parent = loaded.stages[later].document.where(("init", "from")), min(froms[later] & froms[name])
            yield f"{where}: {later} and {name} both start from {parent}, and nothing starts from {name}."


def _kinds(raw: RawTrain) -> list[tuple[str, int]]:
    return [(phase.objective, phase.context) for phase in raw.phases]


def _averages(loaded: LoadedPipeline) -> Iterator[str]:
    """Averages of weights in a pipeline whose stages and exports all take the last weights."""
    text = [stage.document.value.get("init") or {} for stage in loaded.stages.values()]
    weights = [init.get("weights") for init in text]
    if any("average" in (one.values() if isinstance(one, dict) else [one]) for one in weights):
        return
    for name, optimizer in (loaded.document.value.get("optimizers") or {}).items():
        if isinstance(optimizer, dict) and "ema" in optimizer:
            where = loaded.document.where(("optimizers", name, "ema"))
            yield f"{where}: no stage and no export takes the average that {name} keeps (`weights: average`)."


def _hardly_merged(loaded: LoadedPipeline) -> Iterator[str]:
    for name, stage in loaded.stages.items():
        if not isinstance(stage.raw, RawMerge):
            continue
        init = stage.raw.init
        shares = {parent: Fraction(share) for parent, share in init.shares.items()}
        if init.decay is not None:
            kept, count = Fraction(init.decay), len(init.from_)
            shares = {
                parent: (1 - kept if place else 1) * kept ** (count - 1 - place)
                for place, parent in enumerate(init.from_)
            }
        least = min(shares, key=lambda one: shares[one], default=None)
        if least is not None and shares[least] < LEAST_SHARE * sum(shares.values()):
            key = "shares" if init.shares else "decay"
            part = float(shares[least] / sum(shares.values()))
            yield f"{stage.document.where(('init', key))}: {name} has {part:.2%} of {least}."


def _mostly_older(loaded: LoadedPipeline) -> Iterator[str]:
    """Merges with a smaller share of a stage than of one above it. Recipes have the later one as the larger part, nine
    to one in SmolLM3's report, or both alike (arXiv 2109.01903).
    """
    for name, stage in loaded.stages.items():
        shares = stage.raw.init.shares if isinstance(stage.raw, RawMerge) else {}
        for above, below in permutations(shares, 2):
            if Fraction(shares[above]) > Fraction(shares[below]) and _is_above(loaded, above, below):
                yield (
                    f"{stage.document.where(('init', 'shares', above))}: {name} has {shares[above]} parts of {above} "
                    f"and {shares[below]} of {below}, which comes after it: are the shares exchanged?"
                )


def _is_above(loaded: LoadedPipeline, above: str, below: str) -> bool:
    """Whether one parent of a merge, as it is written, is an earlier checkpoint of the other's stage or lineage."""
    (first, here, at), (second, _, later) = above.partition(AT), below.partition(AT)
    if first == second:
        return bool(here) and (not later or units.tokens(at) < units.tokens(later))
    return second in loaded.stages and first in descends_from(loaded, second)


def _partly_merged(loaded: LoadedPipeline) -> Iterator[str]:
    """Averages of several values of a sweep that lack one which nothing else starts from."""
    sweeps: dict[str, list[str]] = {}
    for name, stage in loaded.stages.items():
        if isinstance(stage.raw, RawVariant):
            sweeps.setdefault(stage.raw.written, []).append(name)
    named = {parent for stage in loaded.stages.values() for parent in points.starts_from(stage.raw)}
    for name, stage in loaded.stages.items():
        merged = set(stage.raw.init.from_) if isinstance(stage.raw, RawMerge) else set()
        for values in sweeps.values():
            left = [one for one in values if one not in merged and one not in named]
            if left and len(merged & set(values)) > 1:
                where = stage.document.where(("init", "from"))
                yield f"{where}: {name} averages {len(values) - len(left)} of {len(values)}: without {', '.join(left)}."


def _unused_sweeps(loaded: LoadedPipeline) -> Iterator[str]:
    """Sweeps from whose values nothing starts, where something is exported: of a single stage, I-38 says it."""
    if not any(isinstance(stage.raw, RawExport) for stage in loaded.stages.values()):
        return
    named = {parent for stage in loaded.stages.values() for parent in points.starts_from(stage.raw)}
    for written, values in sweeps(stage.raw for stage in loaded.stages.values()).items():
        if not named & set(values):
            where = loaded.stages[next(iter(values))].document.where(("variants",))
            yield f"{where}: nothing starts from a value of {written} ({', '.join(values)}): it is measured alone."


def _out_of_order(loaded: LoadedPipeline) -> Iterator[str]:
    """Stages that are listed before what they start from: lists and pictures have that order, runs have not."""
    order = {name: number for number, name in enumerate(loaded.raw.stages)}
    for name in (one for one in order if one in loaded.stages):  # a sweep has its stages in its place
        later = [one for one in points.starts_from(loaded.stages[name].raw) if order.get(one, -1) > order[name]]
        if later:
            where = loaded.document.where(("stages", order[name]))
            yield f"{where}: {name} is listed before {', '.join(sorted(later))}, from which it starts."


def foreign_tokenizer(loaded: LoadedPipeline, data: LoadedData) -> Iterator[str]:
    """A notice of a published tokenizer next to the release of another model, which comes with its own."""
    tokenizer = loaded.raw.tokenizer or ""
    if "/" not in tokenizer:
        return
    named = set()
    for releases in loaded.releases.values():
        for _, release, model in releases:
            source = data.releases[release].source if release in data.releases else ""
            family = loaded.raw.models.get(model, {}).get("family")
            alike = source.startswith(tokenizer) or tokenizer.startswith(source)
            if "/" in source and family in LANGUAGE_MODELS and not alike and release not in named:
                named.add(release)
                where = loaded.document.where(("tokenizer",))
                yield f"{where}: the tokenizer is that of {tokenizer}, and release {release!r} is {source}."
