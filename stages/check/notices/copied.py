"""What a copy of a pipeline or of a stage leaves behind: the citation of another paper, no evaluations, one tower of a
release that is drawn at random, and the end of a stage from which nothing starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeGuard

from stages.errors import Where
from stages.spec import points
from stages.spec.loader import LoadedPipeline
from stages.spec.nodes import Tree
from stages.spec.schema.stages import RawExport, RawMerge, RawStage, RawTrain

ARXIV = re.compile(r"\b\d{4}\.\d{4,5}\b")
TOWERS = ("moonvit", "text_tower", "contrastive")  # families of what a release of a contrastive model has


def copied(loaded: LoadedPipeline) -> Iterator[str]:
    """A notice for each of them."""
    yield from _of_another_paper(loaded)
    yield from _unevaluated(loaded)
    yield from _half_released(loaded)
    yield from _unused_ends(loaded)


def _of_another_paper(loaded: LoadedPipeline) -> Iterator[str]:
    """A pipeline that is of a paper which none of its published figures are from."""
    own = set(ARXIV.findall(loaded.raw.citation))
    trees = [loaded.document.value, *(stage.document.value for stage in loaded.stages.values())]
    cited = {number for tree in trees for citation in _citations(tree) for number in ARXIV.findall(citation)}
    if own and cited and not own & cited:
        where = loaded.document.where(("citation",))
        yield f"{where}: no published figure of {loaded.name} cites {min(own)}; they cite {', '.join(sorted(cited))}."


def _citations(tree: Tree) -> Iterator[str]:
    entries = tree.get("sources", []) if isinstance(tree, dict) else []
    yield from (str(entry["citation"]) for entry in entries if entry.get("citation"))


def _unevaluated(loaded: LoadedPipeline) -> Iterator[str]:
    """Stages that train without an evaluation, where others of the pipeline have some: no gate is there to fail.

    What is averaged may be evaluated as the average alone.
    """
    merges = [stage.raw for stage in loaded.stages.values() if isinstance(stage.raw, RawMerge)]
    averaged = {parent for raw in merges for parent in raw.init.from_}
    trained = {name: stage.raw for name, stage in loaded.stages.items() if name not in averaged}
    named = {name: raw.evaluate for name, raw in trained.items() if _trains(raw)}
    nothing = [name for name, one in named.items() if not one.heldout and not one.lm_eval]
    seen: set[Where] = set()
    for name in nothing if len(nothing) < len(named) else ():
        where = loaded.stages[name].document.where(("evaluate",))
        if where not in seen:  # the values of a sweep have one line
            seen.add(where)
            yield f"{where}: {name} trains and is evaluated on nothing, so that no gate of it can fail."


def _trains(raw: RawStage) -> TypeGuard[RawTrain]:
    return isinstance(raw, RawTrain) and not isinstance(raw, points.RawPoint)


def _half_released(loaded: LoadedPipeline) -> Iterator[str]:
    """A tower that is drawn at random beside the other towers of a release, which were trained with it."""
    for name, found in loaded.releases.items():
        raw, towers = loaded.stages[name].raw, {one: release for one, release, model in found if _tower(loaded, model)}
        if not isinstance(raw, RawTrain) or len(towers) < 2:
            continue
        for module, model in raw.modules.items():
            if _tower(loaded, model) and raw.init.weights.get(module) == "fresh":
                where, beside = loaded.stages[name].document.where(("init", "weights")), " and ".join(towers)
                yield f"{where}: {module} of {name} is fresh, beside {beside} of release {min(towers.values())!r}."


def _tower(loaded: LoadedPipeline, model: str) -> bool:
    return loaded.raw.models.get(model, {}).get("family") in TOWERS


def _unused_ends(loaded: LoadedPipeline) -> Iterator[str]:
    """Where something is exported: a stage that others start from in the middle alone."""
    if not any(isinstance(stage.raw, RawExport) for stage in loaded.stages.values()):
        return
    named = {text for stage in loaded.stages.values() for _, text in points.origins(stage.raw)}
    for name, stage in loaded.stages.items():
        counts = [point.at for text in named if (point := points.read(text)) is not None and point.trunk == name]
        if _trains(stage.raw) and counts and name not in named:
            where = stage.document.where(("phases", len(stage.raw.phases) - 1, "budget"))
            yield f"{where}: nothing starts from the end of {name}: what others take of it ends at {max(counts):,}."
