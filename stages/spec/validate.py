"""pydantic's complaints in the words of specs: file, line, key, found, allowed, repair."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stages.errors import SpecError, SpecErrors, UserError
from stages.spec import units
from stages.spec.nodes import Document, Path, dotted

T = TypeVar("T", bound=BaseModel)


def validate(document: Document, model: type[T]) -> T:
    """The document as `model`. Raises SpecError for one mistake, SpecErrors for several."""
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        raise several(translate(document, model, error)) from None


def several(errors: Sequence[SpecError]) -> UserError:
    """One error as itself, more together."""
    return errors[0] if len(errors) == 1 else SpecErrors(errors)


def translate(document: Document, model: type[BaseModel], error: ValidationError, prefix: Path = ()) -> list[SpecError]:
    """One SpecError for each of pydantic's complaints; `prefix` is where the validated part sits in the document."""
    found = [_one(document, model, detail, prefix) for detail in error.errors(include_url=False)]
    misspelt = {f"{one.key.rpartition('.')[0]}{one.repair}" for one in found}
    once = [one for one in found if f"{one.key.rpartition('.')[0]}{_did_you_mean(one.key)}" not in misspelt]
    return list({(one.where, one.key): one for one in once}.values())


def _one(document: Document, model: type[BaseModel], detail: ErrorDetails, prefix: Path) -> SpecError:
    path = _real(document, (*prefix, *detail["loc"]))
    where, key, kind = document.where(path), dotted(path), detail["type"]
    context = detail.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown(document, path, allowed_keys(model, path[len(prefix) : -1]))
    if kind == "missing":
        name = str(detail["loc"][-1])
        return SpecError(where, dotted((*path, name)), "nothing", f"{name} is required", f"Add `{name}: ...`.")
    if isinstance(context.get("error"), units.BadQuantity):
        bad = context["error"]
        return SpecError(where, key, bad.found, bad.allowed, bad.repair)
    found = units.describe(detail["input"])
    if "expected" in context:
        return SpecError(where, key, found, str(context["expected"]), "Choose one of these.")
    return SpecError(where, key, found, _lower(detail["msg"]), "Correct the value.")


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _real(document: Document, loc: Path) -> Path:
    """The longest beginning of pydantic's location that the file holds (the rest are names of types)."""
    for end in range(len(loc), 0, -1):
        if loc[:end] in document.places:
            return loc[:end]
    return ()


def unknown(document: Document, path: Path, names: Iterable[str]) -> SpecError:
    """A key that does not exist, with the likeliest meant one."""
    choice, key = sorted(names), str(path[-1])
    # {reason: one thing, another}: YAML reads the second half as a key of its own.
    cut = " " in key
    repair = "Put quotes around the text: in {...} a comma ends a value." if cut else meant(key, choice)
    return document.error(path, f"the unknown key {key!r}", ", ".join(choice), repair)


def meant(found: str, names: Iterable[str]) -> str:
    """The repair for an unknown name."""
    near = difflib.get_close_matches(found, list(names), n=1)
    return _did_you_mean(near[0]) if near else "Use one of these, or remove it."


def _did_you_mean(key: str) -> str:
    return f"Did you mean {key.rpartition('.')[2]!r}?"


def allowed_keys(model: Any, path: Path) -> list[str]:
    """The keys of the class that sits at `path` below `model`."""
    for part in path:
        if isinstance(part, str) and isinstance(model, type) and issubclass(model, BaseModel):
            fields = {field.alias or name: field for name, field in model.model_fields.items()}
            if part not in fields:
                return []
            model = fields[part].annotation
        model = _inner(model)
    model = _inner(model) if not isinstance(model, type) else model
    if isinstance(model, type) and issubclass(model, BaseModel):
        return [field.alias or name for name, field in model.model_fields.items()]
    return []


def _inner(annotation: Any) -> Any:
    """The class inside list[...], dict[str, ...], Annotated[...] and optional types."""
    while not isinstance(annotation, type) or typing.get_args(annotation):
        arguments = [one for one in typing.get_args(annotation) if one is not type(None) and one is not str]
        candidates = [one for one in arguments if typing.get_args(one) or isinstance(one, type)]
        if not candidates:
            return annotation
        annotation = candidates[0] if typing.get_origin(annotation) is not dict else candidates[-1]
    return annotation
