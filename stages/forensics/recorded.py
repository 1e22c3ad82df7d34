"""The steps that a stage has recorded: those of its finished result or, while there is none, of its last checkpoint."""

from __future__ import annotations

import csv
import math
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from stages.errors import UserError
from stages.printable import printable
from stages.store import attempts, fingerprint, json_file, manifest, partials, run_record, seal
from stages.store.disk import without_waiting
from stages.store.layout import Layout
from stages.store.manifest import ManifestError, Parent
from stages.store.run_record import MadeBy
from stages.store.shards import compare

METRICS, CHECKSUMS = "metrics.csv", "checksums.csv"
NEEDED = ("phase", "step", "loss", "grad_norm", "supervised")
_MAKERS, _TIER = TypeAdapter(list[MadeBy]), TypeAdapter(str)
NUMBERS = frozenset({"tokens", "clock", "lr", "loss", "grad_norm", "supervised"})


@dataclass(frozen=True)
class Recorded:
    """Rows of metrics.csv as text: two numbers are equal exactly when their shortest texts are.

    `makers` are what computed them. `result` is whether the stage is finished.
    """

    folder: Path
    rows: tuple[dict[str, str], ...]
    tier: str
    makers: tuple[MadeBy, ...]
    result: bool
    changed: tuple[str, ...] = ()  # of these files, what is not as the run left it

    def row(self, step: int) -> dict[str, str]:
        """The row of a step, counted from 1."""
        return self.rows[step - 1]

    def checksums(self, first: int, last: int) -> Mapping[int, Mapping[str, str]]:
        """Of the steps [first, last] that have any, by name. Raises UserError where the file cannot be read."""
        return _checksums(self.folder / CHECKSUMS, first, last)


def recorded(layout: Layout, ref: str, key: str, parents: Mapping[str, Parent]) -> Recorded:
    """What is recorded of a stage under its key. Raises UserError where nothing is."""
    place = layout.stage(ref)
    try:
        record = manifest.read(place / manifest.NAME)
    except ManifestError:
        record = None
    if record is not None and record.key == key:
        changed = (*compare(place, [one for one in record.shards if one.file == METRICS], deep=True),
                   *(one for one in seal.problems(place) if one.file.name in (CHECKSUMS, seal.NAME)))  # fmt: skip
        return Recorded(place, _rows(place), record.tier, makers(place), True, tuple(map(str, changed)))
    latest = partials.latest(layout, key, parents)
    if latest is None:
        ended = any(attempts.finding(attempt) is not None for attempt in attempts.folders(layout, key)[:1])
        repair = (
            f"`stages status {ref} --scale {layout.scale}` says why." if ended else f"`{layout.command(ref)}` runs it."
        )
        raise UserError(
            f"{ref}: no step of it is recorded: it is not finished under its key {key[:12]}, and has no checkpoint. "
            f"{repair}"
        )
    made_by = json_file.read_as(latest / "made_by.json", _MAKERS)
    tier = json_file.read_as(latest / "tier.json", _TIER)
    return Recorded(latest, _rows(latest), tier, tuple(made_by), result=False)


def makers(folder: Path) -> tuple[MadeBy, ...]:
    """The code and environments that made a result."""
    run = run_record.read(folder)
    there = run.environment
    words = fingerprint.described(there.model_dump())  # earlier versions wrote none beside the digest
    found = run.made_by or [MadeBy(code=str(there.code), environment=str(there.id))]
    return tuple(
        one if one.words or one.environment != there.id else one.model_copy(update={"words": words}) for one in found
    )


def _rows(folder: Path) -> tuple[dict[str, str], ...]:
    """Raises UserError unless the file has every step up to its last, each with numbers."""
    path = folder / METRICS
    reader = csv.DictReader(_lines(path))
    rows: list[dict[str, str]] = []
    try:
        missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
        if missing:
            raise _unreadable(path, 1, f"no column {missing[0]!r}")
        for row in reader:
            if None in row or None in row.values():
                raise _unreadable(path, reader.line_num, f"{sum(map(bool, row.values()))} cells")
            if row["step"] != str(len(rows) + 1):
                raise _unreadable(path, reader.line_num, f"step {row['step']!r} after step {len(rows)}")
            if wrong := next((one for one in NUMBERS & row.keys() if not _finite(row[one])), None):
                raise _unreadable(path, reader.line_num, f"{wrong} {row[wrong]!r}")
            rows.append(row)
    except csv.Error as error:
        raise _unreadable(path, reader.line_num, str(error)) from None
    return tuple(rows)


def _checksums(path: Path, first: int, last: int) -> dict[int, dict[str, str]]:
    if not os.path.lexists(path):  # an older result, or one that promises no equal bits
        return {}
    found, names = dict[int, dict[str, str]](), list[str]()
    for number, line in enumerate(_lines(path), 1):
        step = line.partition(",")[0]
        if number == 1:
            names = line.rstrip("\n").split(",")
            if names[0] != "step":
                raise _unreadable(path, 1, f"a first column {names[0][:20]!r}")
        elif not step.isdecimal() or len(step) > 18:
            raise _unreadable(path, number, f"step {step[:20]!r}")
        elif first <= int(step) <= last:
            cells = line.rstrip("\n").split(",")
            if len(cells) != len(names):
                raise _unreadable(path, number, f"{len(cells)} cells")
            # Empty where the step was made by code that took no such checksum.
            found[int(step)] = {name: cell for name, cell in zip(names[1:], cells[1:], strict=True) if cell}
    return found


def _lines(path: Path) -> Iterator[str]:
    """The lines of a regular file. Raises UserError."""
    try:
        with open(path, encoding="utf-8", newline="", opener=without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _unreadable(path, 0, "no regular file")
            yield from file
    except OSError as error:
        raise _unreadable(path, 0, error.strerror or "nothing") from None
    except UnicodeDecodeError as error:
        raise _unreadable(path, 0, str(error)) from None


def _finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _unreadable(path: Path, line: int, found: str) -> UserError:
    where = f"{path}:{line}" if line else f"{path}"
    return UserError(
        f"{where}: found {printable(found)}; allowed: the table as its run wrote it. It was changed or damaged since: "
        "`stages status --deep` names what else was; move the result away and run the stage again."
    )
