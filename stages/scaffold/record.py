"""`.stages.json` of a project: by which version its base was written, and the digest of each file as it was written.

By it `stages upgrade` tells a file that the user edited from one that is as it came (as dpkg does with conffiles).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from stages.errors import UserError
from stages.store import json_file
from stages.store.shards import Hex64

NAME = ".stages.json"


class Record(json_file.Strict):
    """`stages` is the version; `files`, path -> blake3 of what the version has there."""

    schema_version: Literal[1]
    stages: str
    files: dict[str, Hex64]


_RECORD = TypeAdapter(Record)


def read(root: Path) -> Record | None:
    """The record of a project; None where it has none. Raises JsonFileError."""
    try:
        return json_file.read_as(root / NAME, _RECORD)
    except json_file.MissingFileError:
        return None


def known(root: Path) -> Record | None:
    """The same, where a record that cannot be read is the user's to remove. Raises UserError."""
    try:
        return read(root)
    except json_file.JsonFileError as error:
        raise UserError(
            f"{error}. Take it from git; or remove it, and `stages upgrade` compares with the new version alone: it "
            "then leaves every file that differs, and says so."
        ) from None


def encoded(version: str, digests: dict[str, str]) -> bytes:
    """The content of the file."""
    return json_file.encode(Record(schema_version=1, stages=version, files=digests).model_dump())
