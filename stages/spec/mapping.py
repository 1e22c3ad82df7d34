"""Mappings whose keys are the fields of resolved values: a model, an optimizer, what a scale changes of a model."""

from __future__ import annotations

import typing
from collections.abc import Collection, Mapping
from types import NoneType
from typing import Annotated, Any

from pydantic import BeforeValidator, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from stages.spec import units
from stages.spec.domain import Domain, Written
from stages.spec.frozen import Frozen
from stages.spec.resolved_training import Schedule
from stages.spec.scheduled import Scheduled


class Fields:
    """Marks a mapping of a raw spec: each key's value is read by that key's domain; unknown keys are refused.

    `required` is whether each key has to be there, but those that may be `absent`.
    """

    def __init__(self, fields: Mapping[str, Any], required: bool = False, absent: Collection[str] = ()) -> None:
        self.types = {name: written(one) for name, one in fields.items()}
        self._required, self._absent = required, absent

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        fields = {
            name: core_schema.typed_dict_field(
                handler.generate_schema(one), required=self._required and name not in self._absent
            )
            for name, one in self.types.items()
        }
        return core_schema.typed_dict_schema(fields, extra_behavior="forbid")


class OneOf:
    """Marks a mapping that states every field of one of several resolved classes; the field `tag` says of which."""

    def __init__(self, tag: str, union: Any) -> None:
        self.tag = tag
        self.kinds = {_name(one, tag): _stated(one) for one in _classes(union)}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {name: one.__get_pydantic_core_schema__(source, handler) for name, one in self.kinds.items()}
        return core_schema.tagged_union_schema(choices, discriminator=self.tag)


def _stated(resolved: type[Frozen]) -> Fields:
    """All fields of a resolved class but those that came later, which may be absent."""
    return Fields(types(resolved), required=True, absent=resolved.LATER_FIELDS)


def some_of(tag: str, union: Any) -> Fields:
    """Any fields of any of the classes of a union, except for the one that says which class it is."""
    every = {name: one for kind in _classes(union) for name, one in types(kind).items() if name != tag}
    return Fields(every)


def types(resolved: type[Frozen]) -> dict[str, Any]:
    """The annotated types of a resolved class's fields, by name."""
    hints = typing.get_type_hints(resolved, include_extras=True)
    return {name: hints[name] for name in resolved.model_fields}


def written(annotation: Any) -> Any:
    """How a spec writes a resolved field: its numbers as text."""
    if isinstance(annotation, Domain):
        return Annotated[int, Written(annotation)]
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is Annotated:
        kind, *metadata = arguments
        return Annotated[kind, *(Written(one, kind) if isinstance(one, Domain) else one for one in metadata)]
    if Schedule in arguments:
        (number,) = (one for one in arguments if one not in (Schedule, NoneType))
        kind, domain = typing.get_args(number)
        return Annotated[kind, Scheduled(domain, kind)]
    if NoneType in arguments:  # the domain knows the word for it
        (other,) = (one for one in arguments if one is not NoneType)
        return written(other)
    if isinstance(annotation, type) and issubclass(annotation, Frozen):
        return Annotated[dict[str, Any], _stated(annotation)]
    if typing.get_origin(annotation) is tuple and arguments[-1] is Ellipsis:
        return list[written(arguments[0])]  # type: ignore[misc]
    if typing.get_origin(annotation) is tuple:
        return tuple[tuple(written(one) for one in arguments)]  # type: ignore[misc]
    return Annotated[bool, BeforeValidator(units.flag)] if annotation is bool else annotation


def _classes(union: Any) -> tuple[type[Frozen], ...]:
    """The classes of Annotated[A | B | ..., the field that distinguishes them]."""
    return typing.get_args(typing.get_args(union)[0])


def _name(resolved: type[Frozen], tag: str) -> str:
    (name,) = typing.get_args(resolved.model_fields[tag].annotation)
    return str(name)
