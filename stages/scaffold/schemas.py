"""JSON Schemas of a project's files, for editors: a file each in `.schemas`, which a spec's first line names."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from stages.cluster.site import RawSite
from stages.spec.json_schema import Schema, json_schema, json_schemas
from stages.store import files, json_file, trees
from stages.tracking.settings import RawTracking

FOLDER = ".schemas"
LINE = "# yaml-language-server: $schema={place}/{name}.json\n"  # what editors with the YAML language server read
ALONE = ("mixtures", "published", "bind", "roots", "tokenizer")  # files of specs/data that are no corpus
OF_FOLDER = {"data": "corpus", "hardware": "hardware", "releases": "release", "tokenizers": "tokenizer_files"}


def every() -> dict[str, Schema]:
    """The schemas of the spec files, of slurm/site.yaml and of tracking.yaml, by name."""
    return json_schemas() | {"site": json_schema(RawSite), "tracking": json_schema(RawTracking)}


def write(folder: Path) -> int:
    """Write a file for each schema; how many. Raises WriteError; a folder that was not there is not left then."""
    found, before = every(), os.path.lexists(folder)
    try:
        for name, schema in found.items():
            json_file.write(folder / f"{name}.json", schema)
    except files.WriteError:
        if not before:
            trees.remove_tree(folder)
        raise
    return len(found)


def named(path: str, content: bytes) -> bytes:
    """A spec with its schema in the first line; other files as they are. `path` is relative to the project."""
    place = PurePosixPath(path)
    if place.parts[0] != "specs" or place.suffix != ".yaml":
        return content
    up = "/".join([".."] * (len(place.parts) - 1))
    return LINE.format(place=f"{up}/{FOLDER}", name=_schema(place, content.decode())).encode() + content


def _schema(place: PurePosixPath, text: str) -> str:
    """The name of the schema of a spec."""
    folder, name = place.parts[1], place.stem
    extends = re.search(r"^extends:", text, re.MULTILINE) is not None
    if folder == "scales":
        return "scale_derived" if extends else "scale"
    if folder in OF_FOLDER:
        return name if folder == "data" and name in ALONE else OF_FOLDER[folder]
    if name == "pipeline":
        return "pipeline_variant" if extends else "pipeline"
    kind = re.search(r"^kind: *(\w+)", text, re.MULTILINE)
    return f"stage_{kind[1]}" if kind else "stage_variant"
