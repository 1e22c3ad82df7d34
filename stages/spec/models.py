"""Resolved models and optimizers: the mappings of pipeline.yaml with a scale's changes laid over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from stages.spec.groups import groups
from stages.spec.loader import LoadedPipeline, LoadedStage
from stages.spec.nodes import Path
from stages.spec.numbers import Numbers
from stages.spec.resolved_models import Model
from stages.spec.resolved_training import Optimizer, Skip
from stages.spec.scales import Scale
from stages.spec.validate import unknown_name

_MODEL: TypeAdapter[Model] = TypeAdapter(Model)
_OPTIMIZER: TypeAdapter[Optimizer] = TypeAdapter(Optimizer)


def model(
    pipeline: LoadedPipeline, stage: LoadedStage, module: str, name: str, vocabulary: int | None, scale: Scale
) -> Model:
    """The model that a stage's module has at the scale; `vocabulary` takes the place of its own. Raises SpecError."""
    fields = _named(pipeline.raw.models, name, "model", stage, ("modules", module))
    small = scale.shrink.models.get(name, {}) if scale.shrink else {}
    for key in small:
        if key not in fields:
            path = ("pipelines", scale.pipeline, "models", name, key)
            raise unknown_name(scale.document, path, "key", key, fields)
    vocab = {"vocab": vocabulary} if vocabulary is not None and "vocab" in fields else {}
    return _MODEL.validate_python(fields | vocab | small)


def full(pipeline: LoadedPipeline, name: str) -> Model:
    """A model of pipeline.yaml as it is there, at full size: what a release has to fit. Raises KeyError."""
    return _MODEL.validate_python(pipeline.raw.models[name])


def optimizer(pipeline: LoadedPipeline, stage: LoadedStage, key: Path, name: str, numbers: Numbers) -> Optimizer:
    """The optimizer that a stage names, with the schedules of its numbers. Raises SpecError."""
    fields = _named(pipeline.raw.optimizers, name, "optimizer", stage, key)
    return _OPTIMIZER.validate_python(
        {**numbers.optimizer(fields, name), **groups(pipeline, fields, name), **_skip(fields)}
    )


def _skip(fields: Mapping[str, Any]) -> dict[str, Skip]:
    given = fields.get("skip")
    return {} if given is None else {"skip": Skip(**given)}


def _named(choice: dict[str, dict[str, Any]], name: str, what: str, stage: LoadedStage, key: Path) -> dict[str, Any]:
    if name not in choice:
        raise unknown_name(stage.document, key, what, name, choice)
    return choice[name]
