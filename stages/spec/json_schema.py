"""JSON Schemas of the files below specs/, for editors and reviewers: every key at every depth, every word, every unit.

A file that extends another states only what it changes; it has a schema of its own, in which nothing but its name and
what it extends is required, and `null` removes a key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from stages.spec.fields import Raw
from stages.spec.schema.corpora import RawCorpus, RawRoots, RawTokenizer
from stages.spec.schema.data import RawBindings, RawMixtures, RawPublishedCorpora, RawScale
from stages.spec.schema.hardware import RawHardware
from stages.spec.schema.pipeline import RawPipeline
from stages.spec.schema.releases import RawReleaseFiles
from stages.spec.schema.stages import STAGES
from stages.spec.schema.tokenizers import RawTokenizerFiles


@cache
def texts() -> dict[str, str]:
    """What each field says, by its name, or by `Class.field`; editors show it."""
    found: dict[str, str] = yaml.safe_load(Path(__file__).with_name("field_texts.yaml").read_text("utf-8"))
    return found


def text(owner: str, name: str) -> str | None:
    """The text of a field of a class (or, in mappings of resolved values, of the field around them)."""
    return texts().get(f"{owner}.{name}", texts().get(name))


FILES: dict[str, type[Raw]] = {
    "pipeline": RawPipeline,
    "mixtures": RawMixtures,
    "published": RawPublishedCorpora,
    "bind": RawBindings,
    "roots": RawRoots,
    "corpus": RawCorpus,
    "tokenizer": RawTokenizer,
    "tokenizer_files": RawTokenizerFiles,
    "release": RawReleaseFiles,
    "scale": RawScale,
    "hardware": RawHardware,
}
Schema = dict[str, Any]
DEFS = "$defs"


def json_schemas() -> dict[str, Schema]:
    """One schema per kind of file: those of FILES, stage_<kind>, and those of files that extend others."""
    stages = {f"stage_{kind}": json_schema(model) for kind, model in STAGES.items()}
    whole = {name: json_schema(model) for name, model in FILES.items()}
    return {
        **whole,
        **stages,
        "pipeline_variant": changes(whole["pipeline"], ("pipeline", "title", "citation", "figure", "extends")),
        "stage_variant": changes(_any_of(stages.values()), ("stage",)),
        "scale_derived": changes(whole["scale"], ("scale", "extends")),
    }


def json_schema(model: type[Raw]) -> Schema:
    """The schema of one kind of file, by the keys and short forms that the file may contain."""
    schema: Schema = _plain(model.model_json_schema(by_alias=True, mode="validation"))
    bases = [one.__name__ for one in model.__mro__ if issubclass(one, Raw)]
    for name, definition in schema.get(DEFS, {}).items():
        _describe(definition, [name])
    _describe({key: value for key, value in schema.items() if key != DEFS}, bases)
    return schema


def _describe(node: Any, owners: Sequence[str]) -> None:
    """Put a text to each field, before what its domain says; `owners` are classes, or the field around a mapping."""
    if isinstance(node, list):
        for one in node:
            _describe(one, owners)
    if not isinstance(node, dict):
        return
    fields = node.get("properties", {}) if isinstance(node.get("properties"), dict) else {}
    for name, field in fields.items():
        found = next(filter(None, (text(owner, name) for owner in owners)), None)
        if found is not None:
            field["description"] = f"{found} ({field['description']})" if "description" in field else found
        _describe(field, [name])
    for key, value in node.items():
        if key != "properties":
            _describe(value, owners)


def changes(whole: Schema, required: Iterable[str]) -> Schema:
    """The schema of a file of which only the `required` keys have to be there; what is there merges into another's."""
    defs = dict(whole.get(DEFS, {}))
    top = _part({key: value for key, value in whole.items() if key != DEFS}, defs)
    # What such a file is called by cannot be taken away.
    named = {key: whole["properties"][key] for key in required}
    return {**top, "properties": {**top["properties"], **named}, "required": list(required), DEFS: defs}


def _part(node: Any, defs: Schema) -> Any:
    """A mapping with any of its keys; lists are replaced as a whole, so what is in them stays as it is."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        part = f"{name}Changes"
        if part not in defs:
            defs[part] = {}  # ends the recursion of a type within itself
            defs[part] = _part(defs[name], defs)
        return {**node, "$ref": f"#/{DEFS}/{part}"}
    if "oneOf" in node or "anyOf" in node:
        options = [_part(one, defs) for one in node.get("oneOf") or node["anyOf"]]
        kept = {key: value for key, value in node.items() if key not in ("oneOf", "discriminator")}
        return {**kept, "anyOf": options}
    if node.get("type") != "object":
        return node
    kept = {key: value for key, value in node.items() if key not in ("required", "minProperties")}
    for key in ("properties", "patternProperties"):
        if key in kept:
            kept[key] = {name: _or_null(_part(one, defs)) for name, one in kept[key].items()}
    if isinstance(kept.get("additionalProperties"), dict):
        kept["additionalProperties"] = _or_null(_part(kept["additionalProperties"], defs))
    return kept


def _or_null(node: Schema) -> Schema:
    description = {"description": node["description"]} if "description" in node else {}
    return {**description, "anyOf": [node, {"type": "null"}]}


def _any_of(schemas: Iterable[Schema]) -> Schema:
    """One schema with the keys of all: a variant's file may leave out the key that tells the kind."""
    merged: Schema = {"type": "object", "additionalProperties": False, "properties": {}, DEFS: {}}
    found: dict[str, list[Schema]] = {}
    for schema in schemas:
        merged[DEFS] |= schema.get(DEFS, {})
        for name, one in schema["properties"].items():
            found[name] = [*found.get(name, []), *([one] if one not in found.get(name, []) else [])]
    merged["properties"] = {
        name: ones[0] if len(ones) == 1 else {"description": ones[0]["description"], "anyOf": ones}
        for name, ones in found.items()
    }
    return merged


def _plain(node: Any) -> Any:
    """What pydantic writes, closed against keys that are no names, without the titles that it makes of fields.

    A text may look like a number to an editor.
    """
    if isinstance(node, list):
        return [_plain(one) for one in node]
    if not isinstance(node, dict):
        return node
    if set(node) <= {"type", "title", "default"} and node.get("type") == "string":
        return {"type": ["string", "number"]}
    names = node if all(isinstance(one, dict) for one in node.values()) else {}  # of a mapping's keys, not a schema's
    kept = {key: _plain(one) for key, one in node.items() if key in names or key not in ("title", "propertyNames")}
    return {**kept, "additionalProperties": False} if "patternProperties" in node and not names else kept
