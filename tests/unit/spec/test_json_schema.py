"""Editors get a schema for every kind of file: it fits every shipped one, and marks what the loader refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from stages.cluster.site import RawSite
from stages.spec.json_schema import json_schema, json_schemas, texts
from stages.spec.nodes import Path, Tree
from stages.tracking.settings import RawTracking
from tests.unit.spec.spec_files import ROOT, SpecFile, as_an_editor_reads, dump, shipped

SCHEMAS = json_schemas() | {"site": json_schema(RawSite)}
VALIDATORS = {name: Draft202012Validator(schema) for name, schema in SCHEMAS.items()}
FILES = tuple(shipped())
UNSHIPPED = {"tokenizer_files", "stage_merge", "bind", "roots"}  # a project has these of its own
WORDS = ("kind", "family", "shape", "objective", "unit", "packing", "clock", "group", "mark", "device", "activations",
         "determinism", "decay", "corpora", "releases", "engine_class", "document_mask", "tied",
         "nesterov")  # fmt: skip


def fits(file: SpecFile) -> bool:
    return VALIDATORS[file.schema].is_valid(as_an_editor_reads(dump(file.value)))


def test_every_kind_of_file_has_a_schema_that_is_one() -> None:
    assert {file.schema for file in FILES} | {"stage_upcycle", "stage_export"} | UNSHIPPED == set(SCHEMAS)
    assert json.loads(json.dumps(SCHEMAS)) == SCHEMAS
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_shipped_file_fits_its_schema(file: SpecFile) -> None:
    text = (ROOT / "specs" / file.name).read_text(encoding="utf-8")
    assert list(VALIDATORS[file.schema].iter_errors(as_an_editor_reads(text))) == []


def one_of_each(tree: Tree, kinds: tuple[type, ...], path: Path = ()) -> Iterator[Path]:
    """Where a file holds such values: of each list its first item, of each long mapping of names its first entries."""
    if isinstance(tree, kinds):
        yield path
    if isinstance(tree, dict):
        for key, value in list(tree.items())[: 3 if len(path) == 1 else None]:
            yield from one_of_each(value, kinds, (*path, key))
    elif isinstance(tree, list) and tree:
        yield from one_of_each(tree[0], kinds, (*path, 0))


def a_file_of_each_schema() -> list[SpecFile]:
    """The largest."""
    found: dict[str, SpecFile] = {}
    for file in sorted(FILES, key=lambda one: len(dump(one.value))):
        found[file.schema] = file
    return list(found.values())


each_schema = pytest.mark.parametrize("file", a_file_of_each_schema(), ids=lambda file: file.schema)


@each_schema
def test_an_unknown_key_is_marked_at_every_depth(file: SpecFile) -> None:
    for path in one_of_each(file.value, (dict,)):
        assert not fits(file.changed((*path, "no such key"), "x")), path


@each_schema
def test_a_word_that_is_none_of_those_there_are_is_marked(file: SpecFile) -> None:
    for path in one_of_each(file.value, (str, bool)):
        if path[-1] in WORDS and path[0] != "sources" and not (path[-1] == "corpora" and file.schema != "scale"):
            assert not fits(file.changed(path, "no_such_word")), path


@each_schema
def test_a_key_that_is_required_is_missed_but_in_files_that_extend_others(file: SpecFile) -> None:
    required = SCHEMAS[file.schema].get("required", [])
    assert required or file.schema == "site"
    for key in required:
        assert not fits(
            SpecFile(file.name, file.schema, {name: one for name, one in file.value.items() if name != key})
        )


def test_what_extends_another_may_state_any_part_and_take_keys_away() -> None:
    some: dict[str, list[dict[str, Any]]] = {
        "stage_variant": [{"rope": {"base": 500_000}}, {"init": {"from": "text", "clock": None}}, {"optimizer": None}],
        "pipeline_variant": [{"models": {"ouro_1_4b": {"layers": 30}}}, {"optimizers": {"muon": {"clip": "none"}}}],
        "scale_derived": [{"pipelines": {"ouro": {"lr": 20, "tokens": {"floor": "9 steps"}, "epochs": {"*": 2}}}}],
    }
    for file in FILES:
        for more in some.get(file.schema, []):
            assert VALIDATORS[file.schema].is_valid({**as_an_editor_reads(dump(file.value)), **more}), (file.name, more)


def test_in_a_list_that_replaces_another_everything_is_said() -> None:
    variant = next(file for file in FILES if file.schema == "stage_variant")
    assert not fits(variant.changed(("phases",), [{"name": "main"}]))


def fields(node: Any) -> Iterator[tuple[str, Any]]:
    """Every field of a schema, at every depth."""
    if isinstance(node, list):
        for one in node:
            yield from fields(one)
    elif isinstance(node, dict):
        found = node.get("properties")
        yield from found.items() if isinstance(found, dict) else ()
        for value in node.values():
            yield from fields(value)


def test_every_field_has_a_text_and_every_text_a_field(monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[str] = set()
    for key in texts():
        monkeypatch.setitem(texts(), key, f"<{key}>")
    marked = json_schemas() | {"site": json_schema(RawSite), "tracking": json_schema(RawTracking)}
    for file, schema in marked.items():
        for name, field in fields(schema):
            said = field.get("description", "")
            assert said.startswith("<"), f"{file}: {name}: add its text to stages/spec/field_texts.yaml"
            used.add(said[1:].partition(">")[0])
    assert texts().keys() == used


def test_no_key_stands_twice_in_the_file_of_texts() -> None:
    lines = (ROOT / "stages/spec/field_texts.yaml").read_text("utf-8").splitlines()
    assert len([line for line in lines if line and not line.startswith("#")]) == len(texts())


def test_a_text_stands_before_what_the_domain_says() -> None:
    field = SCHEMAS["stage_train"]["$defs"]["RawPhase"]["properties"]["micro_batch"]
    assert field["description"] == (
        "Sequences of one forward pass. (sequences, from 1 seq to 10M seq, such as 4096 seq)"
    )
