"""Resolved models and optimizers: the free-form mappings of pipeline.yaml with a scale's changes laid over them."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from stages.spec import units
from stages.spec.fields import numbers
from stages.spec.loader import LoadedPipeline, LoadedStage
from stages.spec.nodes import Document, Path
from stages.spec.resolved_models import Model
from stages.spec.resolved_training import Optimizer
from stages.spec.scales import Scale
from stages.spec.schema_data import RawScale
from stages.spec.validate import meant

_MODEL: TypeAdapter[Model] = TypeAdapter(Model)
_OPTIMIZER: TypeAdapter[Optimizer] = TypeAdapter(Optimizer)
MAY_BE_ABSENT = frozenset({"dense_layers", "shared_experts"})  # sizes that may be 0


def model(
    pipeline: LoadedPipeline, stage: LoadedStage, module: str, name: str, raw_scale: RawScale, scale: Scale
) -> Model:
    """The model that a stage's module has at the scale. Raises SpecError."""
    fields = _named(pipeline.raw.models, name, "model", stage, ("modules", module))
    path: Path = ("models", name)
    checked = _checked(_MODEL, fields, pipeline.document, path)
    if scale.shrink is None and raw_scale.vocab is None:
        return checked
    small = dict(scale.shrink.models.get(name, {})) if scale.shrink else {}
    here = ("pipelines", scale.pipeline, "models", name)
    for key in small:
        if key not in fields:
            raise scale.document.error((*here, key), f"the unknown key {key!r}", ", ".join(fields), meant(key, fields))
    vocab = {"vocab": str(raw_scale.vocab)} if raw_scale.vocab is not None and "vocab" in fields else {}
    return _checked(_MODEL, fields | vocab | small, scale.document, here)


def optimizer(pipeline: LoadedPipeline, stage: LoadedStage, key: Path, name: str) -> Optimizer:
    """The optimizer that a stage names. Raises SpecError."""
    fields = _named(pipeline.raw.optimizers, name, "optimizer", stage, key)
    return _checked(_OPTIMIZER, fields, pipeline.document, ("optimizers", name))


def _named(choice: dict[str, dict[str, Any]], name: str, what: str, stage: LoadedStage, key: Path) -> dict[str, Any]:
    if name not in choice:
        raise stage.document.error(key, f"the unknown {what} {name!r}", ", ".join(choice), meant(name, choice))
    return choice[name]


def _checked(adapter: TypeAdapter[Any], fields: dict[str, Any], document: Document, path: Path) -> Any:
    """The fields as a resolved value; the first complaint becomes a SpecError at its line."""
    try:
        plain = {key: tuple(value) if isinstance(value, list) else value for key, value in numbers(fields).items()}
    except units.BadQuantity as error:
        raise document.error(path, error.found, error.allowed, error.repair) from None
    try:
        checked = adapter.validate_python(plain)
    except ValidationError as error:
        details = error.errors(include_url=False)
        detail = next((one for one in details if one["type"] == "extra_forbidden"), details[0])
        here = (*path, *(part for part in detail["loc"] if part != plain.get("family") and part != plain.get("kind")))
        missing = [str(one["loc"][-1]) for one in details if one["type"] == "missing"]
        if detail["type"] == "extra_forbidden":
            found, allowed = f"the unknown key {here[-1]!r}", ", ".join(missing) or "the fields of its kind"
            raise document.error(here, found, allowed, meant(str(here[-1]), missing)) from None
        message = detail["msg"][:1].lower() + detail["msg"][1:]
        repair = "Models and optimizers state every field of their kind, and no other."
        raise document.error(here, units.describe(detail["input"]), message, repair) from None
    for key, size in checked:
        least = 0 if key in MAY_BE_ABSENT else 1
        if type(size) is int and size < least:
            here = (*path, key)
            raise document.error(here, str(size), f"at least {least}", "Correct the size.")
    return checked
