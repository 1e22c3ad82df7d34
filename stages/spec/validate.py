"""pydantic's complaints in the words of specs: file, line, key, found, allowed, repair."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stages.errors import InvalidSpecs, SpecError, SpecErrors
from stages.spec import invariants, other_trainers, quantities, wording
from stages.spec.model_keys import allowed_keys, may_be_none, needed
from stages.spec.nodes import Document, Path, Tree, dotted

MANY = 20  # mistakes of one file that are listed one by one: of more, the first ones
# pydantic's names of what is wrong with a value's kind -> (allowed, repair)
KINDS = {
    "string_type": ("text", "Put quotes around it."),
    "list_type": ("a list", "Write [a, b], or one `- item` a line."),
    "dict_type": ("a mapping", "Write {key: value}, or one `key: value` a line."),
    "model_type": ("a mapping", "Write {key: value}, or one `key: value` a line."),
}
NOTHING = "Write a value, or take the key out."
T = TypeVar("T", bound=BaseModel)


def validate(document: Document, model: type[T], nulls: bool = False) -> T:
    """The document as `model`. Raises SpecError for one mistake, SpecErrors for several.

    A key without a value is one, also where the key may be absent: a null removes a key in what extends another file,
    and is gone when that is laid over it. With `nulls` it is a value, where the model has it.
    """
    try:
        found = model.model_validate(document.value)
    except ValidationError as error:
        raise several(translate(document, model, error)) from None
    if not nulls and (path := _empty(document.value)) is not None:
        raise document.error(path, "nothing", "a value", NOTHING)
    return found


def _empty(tree: Tree) -> Path | None:
    """The path of a null; most trees have none, and no path is put together for them."""
    for key, one in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if one is None:
            return (key,)
        if isinstance(one, (dict, list)) and (below := _empty(one)) is not None:
            return (key, *below)
    return None


def unmeasured(
    document: Document, keys: Sequence[str], declared: bool, expected: str, command: str, otherwise: str = ""
) -> list[str]:
    """Those of `keys` that a file does not have yet. Raises SpecError if it has to: `command` prints their lines.

    `otherwise` is what may be written where there is nothing yet that the command could look at.
    """
    missing = [key for key in keys if key not in document.value]
    if missing and declared:
        lines = "lines that it prints" if len(keys) > 1 else "line that it prints"
        raise SpecError(
            document.where(()), missing[0], "nothing", f"{expected} ({', '.join(keys)})",
            f"Run `{command}` and put the {lines} into this file.{otherwise}",
        )  # fmt: skip
    return missing


def several(errors: Sequence[SpecError]) -> InvalidSpecs:
    """One error as itself, more together."""
    return errors[0] if len(errors) == 1 else SpecErrors(errors)


def translate(document: Document, model: type[BaseModel], error: ValidationError) -> list[SpecError]:
    """One SpecError for each of pydantic's complaints."""
    details = error.errors(include_url=False)
    found = [_one(document, model, detail) for detail in details[:MANY]]
    if len(details) > MANY:
        found.append(more(document, len(details) - MANY))
    misspelt = {f"{one.key.rpartition('.')[0]}{one.repair}" for one in found}
    once = [one for one in found if f"{one.key.rpartition('.')[0]}{_did_you_mean(one.key)}" not in misspelt]
    return list({(one.where, one.key): one for one in once}.values())


def more(document: Document, count: int) -> SpecError:
    """What stands for the mistakes that are not listed one by one."""
    return document.error((), f"{count} more mistakes", "none", "Correct those above first.")


def _one(document: Document, model: type[BaseModel], detail: ErrorDetails) -> SpecError:
    path, loc = _real(document, detail["loc"]), detail["loc"]
    where, key, kind = document.where(path), dotted(path), detail["type"]
    context = detail.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown(document, path, allowed_keys(model, loc[:-1]))
    if kind == "missing" and isinstance(loc[-1], int):
        found, allowed = f"{len(detail['input'])} values", f"at least {loc[-1] + 1}"
        return SpecError(where, key, found, allowed, "Add those that are missing.")
    if kind in ("missing", "union_tag_not_found"):
        name = str(loc[-1]) if kind == "missing" else context["discriminator"].strip("'")
        repair = added(name, needed(model, loc)) if kind == "missing" else added(name)
        if kind == "missing" and may_be_none(model, loc):
            repair = f"Add `{name}: none`, or {repair.removeprefix('Add ')}"
        invariant = invariants.of_missing((*path, name))
        return SpecError(where, dotted((*path, name)), "nothing", f"{name} is required", repair, invariant)
    if kind == "union_tag_invalid":
        tag, key, allowed = context["tag"], context["discriminator"].strip("'"), context["expected_tags"]
        repair = other_trainers.word(tag) or near(tag, [one.strip("'") for one in allowed.split(", ")])
        repair = repair or (other_trainers.family(tag) if key == "family" else "Use one of these.")
        return document.error((*path, key), repr(tag), allowed, repair)
    if isinstance(bad := context.get("error"), quantities.BadQuantity):
        where, key = (document.where((*path, *bad.at)), dotted((*path, *bad.at))) if bad.at else (where, key)
        none = detail["input"] is None and bad.allowed.endswith("or none")
        return SpecError(where, key, bad.found, bad.allowed, "Write none, or a number." if none else bad.repair)
    found = quantities.describe(detail["input"])
    if kind in KINDS:
        allowed, repair = KINDS[kind]
        if kind == "string_type" and isinstance(detail["input"], list | dict):
            repair = "Write one value."
        return SpecError(where, key, found, allowed, NOTHING if detail["input"] is None else repair)
    if kind == "too_short" and isinstance(detail["input"], list | dict):
        allowed = f"at least {_entries(context['min_length'])}"
        return SpecError(where, key, _entries(len(detail["input"])), allowed, "Add those that are missing.")
    if "expected" in context:
        allowed = str(context["expected"])
        repair = other_trainers.word(detail["input"], str(path[-1]) if path else "") or _meant(detail["input"], allowed)
        return SpecError(where, key, found, allowed, repair)
    return SpecError(where, key, found, wording.of_value(detail).removeprefix("expected "), "Correct the value.")


def _meant(found: object, allowed: str) -> str:
    """A question after the word that is nearly the one found, or goes on from it; other digits are another thing."""
    words, text = re.findall(r"'([^']+)'", allowed), found if isinstance(found, str) else ""
    close = difflib.get_close_matches(text, words, n=1, cutoff=0.75)
    close = close or [one for one in words if len(text) > 3 and one.startswith(text)]
    digits = [one for one in text if one.isdigit()]
    if close and digits in ([], [one for one in close[0] if one.isdigit()]):
        return _did_you_mean(close[0])
    return "Choose one of these."


def _entries(count: int) -> str:
    return f"{count} entr{'y' if count == 1 else 'ies'}" if count else "nothing in it"


def _real(document: Document, loc: Path) -> Path:
    """What the file contains of pydantic's location, which names types in between."""
    path: Path = ()
    for part in loc:
        path = (*path, part) if (*path, part) in document.places else path
    return path


def unknown(document: Document, path: Path, names: Iterable[str]) -> SpecError:
    """A key that does not exist, with the likeliest meant one."""
    choice, key = sorted(names), str(path[-1])
    # {reason: one thing, another}: YAML reads the second half as a key of its own.
    repair = _mistyped(key) or other_trainers.repair(key) or hint(key, _may_be_meant(document, path, choice))
    invariant = invariants.of_unknown(document.value, path)
    return document.error(path, f"the unknown key {quantities.describe(key)}", ", ".join(choice), repair, invariant)


def _may_be_meant(document: Document, path: Path, choice: Sequence[str]) -> list[str]:
    """The keys that an unknown one may stand for; one that is there already only where it is nearly that."""
    beside: Any = document.value
    for part in path[:-1]:
        beside = beside[part]
    nearly = difflib.get_close_matches(str(path[-1]), choice, cutoff=0.75)
    return [one for one in choice if one not in beside or one in nearly]


def _mistyped(key: str) -> str:
    """The repair for a key that YAML made of a text, of a number or of a value without a blank before it."""
    name, colon, value = key.partition(":")
    if " " in key.strip():
        return "Put quotes around the text: in {...} a comma ends a value."
    if colon and name and value:
        return f"Put a blank behind the colon: `{name}: {value}`."
    return "Write decimals with a point, such as 0.95: in {...} a comma ends a value." if key.isdigit() else ""


def unknown_name(document: Document, path: Path, what: str, name: str, known: Iterable[str]) -> SpecError:
    """A name of something that there is not (`what`, in words), with those that there are."""
    choice = list(known)
    allowed = ", ".join(choice) or "none, since none is declared"
    repair = hint(name, choice) if choice else "Declare it."
    return document.error(path, f"the unknown {what} {quantities.describe(name)}", allowed, repair)


def hint(found: str, names: Iterable[str]) -> str:
    """The repair for an unknown name."""
    return near(found, names) or "Use one of these, or remove it."


def near(found: str, names: Iterable[str]) -> str:
    """A question after the likeliest meant name; "" where none is near."""
    close = difflib.get_close_matches(found, list(names), n=1)
    return _did_you_mean(close[0]) if close else ""


def _did_you_mean(key: str) -> str:
    return f"Did you mean {key.rpartition('.')[2]!r}?"


def added(name: str, keys: Iterable[str] = ()) -> str:
    """The repair for a key that is missing; of a mapping, `keys` are those that it needs."""
    inside = ", ".join(f"{key}: ..." for key in keys)
    return f"Add `{name}: {{{inside}}}`." if inside else f"Add `{name}: ...`."
