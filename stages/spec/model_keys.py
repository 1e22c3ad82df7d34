"""Which keys the mappings of a spec may have and need: pydantic's models, followed along one of its locations."""

from __future__ import annotations

import typing
from types import NoneType
from typing import Annotated, Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stages.spec.mapping import Fields, OneOf
from stages.spec.nodes import Path


def required_keys(model: type[BaseModel]) -> list[str]:
    """The keys that a mapping of a spec cannot do without."""
    return [field.alias or name for name, field in model.model_fields.items() if field.is_required()]


def needed(model: type[BaseModel], loc: Path) -> list[str]:
    """The keys that the mapping at pydantic's location `loc` cannot do without; none where it is none of ours."""
    found = _at(model, loc)
    return required_keys(found) if isinstance(found, type) and issubclass(found, BaseModel) else []


def may_be_none(model: type[BaseModel], loc: Path) -> bool:
    """Whether what is missing is a key that has to be written, and may say that there is none."""
    above = _at(model, loc[:-1])
    known = above.model_fields if isinstance(above, type) and issubclass(above, BaseModel) else {}
    field = next((one for name, one in known.items() if loc[-1] in (name, one.alias)), None)
    return field is not None and field.is_required() and NoneType in typing.get_args(field.annotation)


def allowed_keys(model: type[BaseModel], loc: Path) -> list[str]:
    """The keys of the mapping at pydantic's location `loc` in `model`."""
    found = _at(model, loc)
    if isinstance(found, Fields):
        return list(found.types)
    if isinstance(found, type) and issubclass(found, BaseModel):
        return [field.alias or name for name, field in found.model_fields.items()]
    return []


def _at(model: type[BaseModel], loc: Path) -> Any:
    """The type at pydantic's location `loc` in `model`."""
    found: Any = model
    for part in loc:
        found = _below(found, part)
    return _bare(found)


def _below(annotation: Any, part: str | int) -> Any:
    """The type at one part of pydantic's location; a part that names a type leads nowhere."""
    annotation = _bare(annotation)
    if isinstance(annotation, OneOf):
        return annotation.kinds.get(str(part))
    if isinstance(annotation, Fields):
        return annotation.types.get(str(part))
    if typing.get_origin(annotation) in (list, dict):
        return typing.get_args(annotation)[-1]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = {field.alias or name: field for name, field in annotation.model_fields.items()}
        return _declared(fields[str(part)]) if str(part) in fields else None
    return annotation


def _declared(field: FieldInfo) -> Any:
    """A field's type with what marks it."""
    marks = [one for one in field.metadata if isinstance(one, (Fields, OneOf))]
    return marks[0] if marks else field.annotation


def _bare(annotation: Any) -> Any:
    """Without Annotated[...] and None; what marks a mapping stands for it."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is Annotated:
        marks = [one for one in arguments if isinstance(one, (Fields, OneOf))]
        return marks[0] if marks else _bare(arguments[0])
    if NoneType in arguments:
        return _bare(next(one for one in arguments if one is not NoneType))
    return annotation
