"""Editors get a schema for every kind of file, with the keys that the loader takes."""

from __future__ import annotations

import json

from stages.spec.json_schema import json_schemas


def test_every_kind_of_file_has_a_schema_that_is_json() -> None:
    schemas = json_schemas()
    assert {"pipeline", "scale", "mixtures", "corpus", "stage_train", "stage_import", "stage_keep"} <= set(schemas)
    assert json.loads(json.dumps(schemas)) == schemas


def test_keys_are_those_of_the_files_and_unknown_ones_are_refused() -> None:
    schema = json_schemas()["stage_train"]
    assert {"stage", "box", "kind", "modules", "train", "frozen", "init", "phases"} <= set(schema["required"])
    assert schema["additionalProperties"] is False
    assert "from" in schema["$defs"]["RawInit"]["properties"]


def test_short_forms_are_allowed() -> None:
    schema = json_schemas()["stage_train"]
    kinds = {one["type"] for one in schema["$defs"]["RawPhase"]["properties"]["batch"]["anyOf"]}
    assert kinds == {"string", "array"}
