"""Preferences of a model that was not fine-tuned, beside one that is: `from` names the stage before the last."""

from __future__ import annotations

from collections.abc import Iterator

from stages.errors import Where
from stages.spec import points
from stages.spec.graph import descends_from
from stages.spec.loader import LoadedPipeline
from stages.spec.schema.stages import RawTrain


def untuned(loaded: LoadedPipeline) -> Iterator[str]:
    """A notice for each stage of preferences whose lineage lacks the fine-tuning that another stage has of its model.

    Recipes learn preferences after fine-tuning on answers (arXiv 2305.18290, section 4).
    """
    tuned = {name for name, stage in loaded.stages.items() if _learns(loaded, name) == "sft"}
    seen: set[Where] = set()  # the values of a sweep have one line
    for name, stage in loaded.stages.items():
        where = stage.document.where(("init", "from"))
        if _learns(loaded, name) != "preference" or where in seen or tuned & descends_from(loaded, name):
            continue
        beside = [one for one in loaded.stages if one in tuned and _models(loaded, one) & _models(loaded, name)]
        if beside:
            seen.add(where)
            parents = " and ".join(sorted(points.starts_from(stage.raw) & loaded.stages.keys()))
            yield (
                f"{where}: {name} learns preferences from {parents}, which was not fine-tuned on answers; "
                f"{beside[-1]} is."
            )


def _learns(loaded: LoadedPipeline, name: str) -> str:
    """Preferences, or answers, or neither."""
    raw = loaded.stages[name].raw
    objectives = {phase.objective for phase in raw.phases} if isinstance(raw, RawTrain) else set()
    return next((one for one in ("preference", "sft") if one in objectives), "")


def _models(loaded: LoadedPipeline, name: str) -> set[str]:
    """The models that a stage trains."""
    raw = loaded.stages[name].raw
    return {raw.modules[module] for module in raw.train} if isinstance(raw, RawTrain) else set()
