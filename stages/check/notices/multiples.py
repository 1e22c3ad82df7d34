"""Groups of an optimizer whose multiples were meant as something else: a decay itself, the other module's rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stages.errors import Where
from stages.spec.loader import LoadedPipeline
from stages.spec.resolved_models import LANGUAGE_MODELS
from stages.spec.schema.stages import RawTrain

TOWER = "moonvit"


def multiples(loaded: LoadedPipeline) -> Iterator[str]:
    """A notice for each decay of a group that is the optimizer's own figure, and for each vision tower that has learned
    before and has a higher rate than the language model beside it.

    Recipes have the same rate for both, or a fifth to a tenth of it for the tower (LLaVA-OneVision, arXiv 2408.03326,
    table 1).
    """
    for name, fields in loaded.raw.optimizers.items():
        for number, group in enumerate(fields.get("groups") or ()):
            own, times = fields.get("weight_decay"), group["weight_decay"]  # a schedule is no number
            if own == times and times not in (0, 1):
                where = loaded.document.where(("optimizers", name, "groups", number, "weight_decay"))
                yield (
                    f"{where}: group {group['name']!r} has {times:g} times the weight_decay {own:g} of "
                    f"{name}, {own * times:g}; for {own:g} itself, write 1."
                )
    once = dict(reversed([*_faster(loaded)]))  # of several stages with an optimizer, the first
    yield from reversed([f"{where}: {said}" for where, said in once.items()])


def _faster(loaded: LoadedPipeline) -> Iterator[tuple[Where, str]]:
    for name, stage in loaded.stages.items():
        raw = stage.raw
        fields = loaded.raw.optimizers.get(raw.optimizer) if isinstance(raw, RawTrain) else None
        if not isinstance(raw, RawTrain) or fields is None or not fields.get("groups"):
            continue
        families = {one: loaded.raw.models.get(raw.modules[one], {}).get("family") for one in raw.train}
        for vit in [one for one, family in families.items() if family == TOWER and _has_learned(raw, one)]:
            for llm in [one for one, family in families.items() if family in LANGUAGE_MODELS]:
                times = _times(fields, vit) / _times(fields, llm)
                if times > 1:
                    where = loaded.document.where(("optimizers", raw.optimizer, "groups"))
                    yield (
                        where,
                        (
                            f"{name} trains {vit} at {times:g} times the rate of {llm}; recipes have the same rate, "
                            "or a fifth to a tenth of it."
                        ),
                    )


def _has_learned(raw: RawTrain, module: str) -> bool:
    return raw.init.weights.get(module, raw.init.weights.get("*")) != "fresh"


def _times(fields: Mapping[str, Any], module: str) -> float:
    """The multiple of the rate that a module's matrices have."""
    groups = [one for one in fields["groups"] if "matrices" in one["of"]]
    own = [one for one in groups if one.get("modules") is None or module in one["modules"]]
    return float(own[0]["lr"]) if own else 1.0
