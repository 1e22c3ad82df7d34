"""`variants:` of a stage: one stage for each value of one field, all read from the one file.

The field is one of the stage's, or one of the schedule or the optimizer that the stage names: then each variant names
a copy of that, in which the one value is another. What is written once stays written once.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stages.errors import Where
from stages.spec.names import ALLOWED, is_name
from stages.spec.nodes import Document, Path, Tree
from stages.spec.schema.pipeline import RawPipeline
from stages.spec.schema.stages import RawStage, RawTrain
from stages.spec.validate import hint, unknown_name, validate

SHARED = {"schedules": "schedule", "optimizers": "optimizer"}  # of pipeline.yaml, and how a stage names its own
# What says what a stage is, and what is in no key: two variants would be one result.
FIXED = frozenset({
    "stage", "box", "kind", "variants", "sources", "waivers", "init", "modules", "train", "frozen", "evaluate",
    "execution",
})  # fmt: skip


class RawVariant(RawTrain):
    """One of a stage's variants. No file contains one."""

    written: str  # the stage whose file it is from
    label: str
    field: str
    value: str
    copied: dict[str, str]  # name of a schedule or an optimizer -> the name under which it is written
    replaced: tuple[str, Where] | None  # the value in the field's own place and its line, where it is no variant's


def written_as(raw: RawStage, name: str) -> str:
    """The entry of pipeline.yaml that a schedule or an optimizer of a stage is written as."""
    return raw.copied.get(name, name) if isinstance(raw, RawVariant) else name


def sweeps(stages: Iterable[RawStage]) -> dict[str, dict[str, RawVariant]]:
    """The variants among stages, by the stage whose file they are from and by their own names."""
    found: dict[str, dict[str, RawVariant]] = {}
    for raw in stages:
        if isinstance(raw, RawVariant):
            found.setdefault(raw.written, {})[raw.stage] = raw
    return found


@dataclass(frozen=True)
class Varied:
    """The stages that a file stands for, each with its document, and pipeline.yaml with what they name."""

    stages: dict[str, tuple[RawVariant, Document]]
    listing: Document
    shared: RawPipeline


def vary(stage: RawTrain, document: Document, listing: Document) -> Varied:
    """Every variant of a stage. Raises SpecError at its `variants` for a field or a name that there is not."""
    variants = stage.variants
    assert variants is not None
    found: dict[str, tuple[RawVariant, Document]] = {}
    replaced: tuple[str, Where] | None = None
    written = document.value["variants"]["values"]
    for label in variants.values:
        name, where = f"{stage.stage}_{label}", document.where(("variants", "values", label))
        if not is_name(name):
            raise document.error(("variants", "values", label), repr(name), ALLOWED, "Choose a shorter label.")
        own = _without_variants(document, name)
        head, _, rest = variants.field.partition(".")
        copied: dict[str, str] = {}
        if head in SHARED:
            entry, _, inside = rest.partition(".")
            listing, own = _copied(document, own, listing, (head, entry), label)
            path = _path(document, listing.value[head][f"{entry}_{label}"], inside, f"{head}.{entry}.")
            replaced = _value(listing, (head, entry, *path))
            listing = _set(listing, (head, f"{entry}_{label}", *path), written[label], where)
            copied = {f"{entry}_{label}": entry}
        elif head in FIXED or (head == "phases" and rest.partition(".")[2] == "name"):
            raise document.error(
                ("variants", "field"), variants.field, "a field that changes numbers of one stage",
                "Write it as its own stage.",
            )  # fmt: skip
        else:
            path = _path(document, own.value, variants.field, "")
            replaced = _value(document, path)
            own = _set(own, path, written[label], where)
        raw = validate(own, RawTrain)
        found[name] = (
            RawVariant.model_construct(
                **dict(raw), written=stage.stage, label=label, field=variants.field, value=str(written[label]),
                copied=copied, replaced=replaced,
            ),
            own,
        )  # fmt: skip
    shared = validate(listing, RawPipeline)
    contents = _all_differ(found, shared, document)
    if _content(stage, shared) in contents:  # which one of the variants reads
        found = {name: (raw.model_copy(update={"replaced": None}), own) for name, (raw, own) in found.items()}
    return Varied(found, listing, shared)


def _all_differ(found: Mapping[str, tuple[RawVariant, Document]], shared: RawPipeline, document: Document) -> list[Any]:
    """What each variant is; raises SpecError where two would be one stage, however the value is written."""
    seen: list[tuple[Any, RawVariant]] = []
    for raw, _ in found.values():
        its = _content(raw, shared)
        same = next((other for known, other in seen if known == its), None)
        if same is not None:
            raise document.error(
                ("variants", "values", raw.label), f"{raw.value}, the value of {same.stage}", "a value for each name",
                "Take one of them out: both would be one result.",
            )  # fmt: skip
        seen.append((its, raw))
    return [known for known, _ in seen]


def _content(raw: RawTrain, shared: RawPipeline) -> Any:
    """What a stage is, whatever it and the copies that it names are called."""
    named = [(written_as(raw, getattr(raw, key)), section, getattr(raw, key)) for section, key in SHARED.items()]
    entries = [(written, getattr(shared, section).get(name)) for written, section, name in named]
    fields = set(RawTrain.model_fields) - {"stage", "variants", *SHARED.values()}
    return raw.model_dump(include=fields), entries


def _without_variants(document: Document, name: str) -> Document:
    value = {key: one for key, one in document.value.items() if key != "variants"}
    return Document({**value, "stage": name}, document.places)


def _copied(
    document: Document, own: Document, listing: Document, entry: tuple[str, str], label: str
) -> tuple[Document, Document]:
    """pipeline.yaml with a copy of a schedule or an optimizer, and the stage naming that."""
    section, name = entry
    entries: Mapping[str, Tree] = listing.value.get(section, {})
    named, other = own.value.get(SHARED[section]), f"{name}_{label}"
    if name != named:
        raise document.error(
            ("variants", "field"), f"{section}.{name}", f"{section}.{named}, which the stage names",
            "Vary what the stage reads.",
        )  # fmt: skip
    if other in entries or not is_name(other):
        raise document.error(
            ("variants", "values", label),
            f"{other!r}, which {section} has already ({listing.where((section, other))})",
            f"a copy of {name!r} of its own for each value of each sweep",
            f"Write another label than {label!r}.",
        )
    if name not in entries:
        raise unknown_name(document, (SHARED[section],), SHARED[section], name, entries)
    value = {**listing.value, section: {**entries, other: copy.deepcopy(entries[name])}}
    places = {(section, other, *path[2:]): where for path, where in listing.places.items() if path[:2] == entry}
    return (Document(value, {**listing.places, **places}), Document({**own.value, SHARED[section]: other}, own.places))


def _path(document: Document, tree: Tree, field: str, above: str) -> Path:
    """The path of a field that is there; items of lists go by number or by name. Only a seed may be new.

    `above` is what the whole field has before, for errors.
    """
    found: list[str | int] = []
    if field == "seed" and not above:
        return ("seed",)
    for part in field.split(".") if field else ():
        known, step = _step(tree, part)
        if step is None:
            raise document.error(
                ("variants", "field"), f"{above}{field}, in which {part!r} is not", ", ".join(known) or "a field",
                hint(part, known),
            )  # fmt: skip
        found.append(step)
        tree = tree[step]
    if isinstance(tree, (dict, list)):
        raise document.error(
            ("variants", "field"), f"{above}{field}".removesuffix(".") + ", which is no single value",
            "one value, such as schedules.main.0.to", "Name what is inside of it.",
        )  # fmt: skip
    return tuple(found)


def _step(tree: Tree, part: str) -> tuple[list[str], str | int | None]:
    """What a mapping or a list has, and which of it a word names."""
    if isinstance(tree, dict):
        return list(tree), part if part in tree else None
    if not isinstance(tree, list):
        return [], None
    known = [str(one.get("name", i)) if isinstance(one, dict) else str(i) for i, one in enumerate(tree)]
    if part in known:
        return known, known.index(part)
    return known, int(part) if part.isdecimal() and int(part) < len(tree) else None


def _value(document: Document, path: Path) -> tuple[str, Where] | None:
    """What stands at a path, and its line; None for a seed that is not written."""
    at = document.value
    for part in path[:-1]:
        at = at[part]
    if isinstance(at, dict) and path[-1] not in at:
        return None
    return str(at[path[-1]]), document.where(path)


def _set(document: Document, path: Path, value: Tree, where: Where) -> Document:
    """The document with another value at a path, which is at the line that says it."""
    tree = copy.deepcopy(document.value)
    at = tree
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    return Document(tree, {**document.places, path: where})
