"""The steps that a stage has recorded: those of its finished result or, while there is none, of its last checkpoint."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.errors import UserError
from stages.store import json_file, manifest, partials, run_record
from stages.store.layout import Layout
from stages.store.manifest import ManifestError, Parent

METRICS = "metrics.csv"
MADE_BY = "made_by.json"


@dataclass(frozen=True)
class Recorded:
    """Rows of metrics.csv as text: two numbers are equal exactly when their shortest texts are.

    `makers` are the (code, environment) digests that computed them. `result` is whether the stage is finished.
    """

    folder: Path
    rows: tuple[dict[str, str], ...]
    tier: str
    makers: tuple[tuple[str, str], ...]
    result: bool

    def row(self, step: int) -> dict[str, str]:
        """The row of a step, counted from 1."""
        return self.rows[step - 1]


def recorded(layout: Layout, ref: str, key: str, parents: Mapping[str, Parent]) -> Recorded:
    """What is recorded of a stage under its key. Raises UserError where nothing is."""
    place = layout.stage(ref)
    try:
        record = manifest.read(place / manifest.NAME)
    except ManifestError:
        record = None
    if record is not None and record.key == key and (place / METRICS).is_file():
        environment = run_record.read(place).environment
        makers = json_file.read(place / run_record.NAME).get("made_by") or [
            {"code": str(environment.code), "environment": str(environment.id)}
        ]
        return Recorded(place, _rows(place), record.tier, _makers(makers), result=True)
    latest = partials.latest(layout, key, parents)
    if latest is None:
        raise UserError(
            f"{ref}: no step of it is recorded: it is not finished under its key {key[:12]}, and has no checkpoint. "
            f"`stages run {ref} --scale {layout.scale}` runs it."
        )
    makers, tier = json_file.read(latest / MADE_BY), json_file.read(latest / "tier.json")
    return Recorded(latest, _rows(latest), str(tier), _makers(makers), result=False)


def _makers(listed: list[dict[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((one["code"], one["environment"]) for one in listed)


def _rows(folder: Path) -> tuple[dict[str, str], ...]:
    with (folder / METRICS).open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))
