"""What a tracker gets to know of a stage: who it is, what it was built on, its rows, and what it came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.errors import UserError
from stages.store import attempts, json_file, live, manifest
from stages.store.json_file import JsonFileError
from stages.store.layout import Layout
from stages.store.manifest import Parent

SHOWN = 8  # hex digits of a key in names
WORDS = ("phase", "step", live.SECONDS)  # columns of a row that are no measurement


@dataclass(frozen=True)
class Run:
    """A stage under a key."""

    layout: Layout
    ref: str
    key: str

    @property
    def name(self) -> str:
        """What people call it: pipeline/stage@scale and the beginning of the key."""
        return f"{self.ref}@{self.layout.scale} {self.key[:SHOWN]}"

    @property
    def tags(self) -> dict[str, str]:
        """What it is found by."""
        pipeline, _, stage = self.ref.partition("/")
        return {"pipeline": pipeline, "stage": stage, "scale": self.layout.scale, "key": self.key}

    def parents(self) -> dict[str, Parent]:
        """What the newest attempt was built on."""
        for attempt in attempts.folders(self.layout, self.key)[:1]:
            return attempts.built_on(attempt) or {}
        return {}

    def result(self) -> tuple[Path, manifest.Manifest, str] | None:
        """The folder, manifest and manifest's digest of the result in place, if it is this key's."""
        place = self.layout.manifest(self.ref)
        with suppress(UserError):
            record, digest = manifest.read_with_digest(place)
            if record.key == self.key:
                return place.parent, record, digest
        return None

    def evaluations(self) -> dict[str, float]:
        """The numbers of eval.json of the result in place, as before/validation.loss; lists of numbers are left out."""
        found = self.result()
        if found is None:
            return {}
        with suppress(JsonFileError, OSError):
            tree = json_file.read(found[0] / "eval.json")
            return dict(_numbers(tree, "")) if isinstance(tree, dict) else {}
        return {}


def _numbers(tree: Mapping[str, Any], name: str) -> Iterator[tuple[str, float]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{name}{key}{'.' if name else '/'}")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{name}{key}", float(value)


def measured(row: Mapping[str, str], before: Mapping[str, str] | None) -> dict[str, float]:
    """The numbers of a row; tokens per second where the row before it is known."""
    found = {}
    for name, text in row.items():
        if name not in WORDS and text:
            with suppress(ValueError):
                found[name] = float(text)
    with suppress(KeyError, ValueError, ZeroDivisionError):
        read = float(row["tokens"]) - (float(before["tokens"]) if before is not None else 0.0)
        if before is not None or row["step"] == "1":
            found["tokens_per_second"] = read / float(row[live.SECONDS])
    return found
