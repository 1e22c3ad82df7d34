"""What a finished stage left on disk, read and checked: metrics.csv, timing.csv, eval.json, stage.json, run.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.errors import UserError
from stages.spec import wording
from stages.spec.resolved import Stage
from stages.store import json_file, manifest, run_record, stage_record
from stages.store.json_file import JsonFileError
from stages.store.manifest import Manifest
from stages.store.run_record import RunRecord

TABLE = 1 << 30  # bytes of a table at most
LONGEST = 1e9  # seconds of a step: thirty years
WHOLE = ("step", "tokens", "clock", "supervised")
FRACTIONAL = ("lr", "loss", "grad_norm")


class ResultError(UserError):
    """A result file is absent or is not what a run writes: the file, the place in it, what to do."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"{path}: {what}. Result files are written by runs and are not edited; `stages status --deep` says "
            f"which stages are damaged, and running the stage again rebuilds it."
        )


@dataclass(frozen=True)
class StageResult:
    """One finished stage.

    `metrics` and `timing` are None for stages that do not train (import of a folder, keep, upcycle, export); `before`
    and `after` map the dotted names of evaluations to numbers and are empty where nothing was evaluated.
    """

    folder: Path
    stage: Stage
    manifest: Manifest
    run: RunRecord
    metrics: pd.DataFrame | None
    timing: pd.DataFrame | None
    before: Mapping[str, float]
    after: Mapping[str, float]


def running_mean(values: pd.Series, window: int) -> pd.Series:
    """The mean of the `window` values around each; at both ends of those that there are, at least half as many."""
    return values.rolling(window, center=True, min_periods=max(1, window // 2)).mean()


def first_and_last_loss(metrics: pd.DataFrame) -> tuple[float, float]:
    """Mean training loss over the first and over the last tenth of a stage's steps (at least one step each)."""
    losses, part = metrics["loss"], max(1, len(metrics) // 10)
    return float(losses.iloc[:part].mean()), float(losses.iloc[-part:].mean())


def seconds_in_steps(timing: pd.DataFrame | None) -> float:
    """Seconds spent in a stage's steps, by timing.csv; start-up, evaluation and saving are not in it."""
    return 0.0 if timing is None else float(timing["seconds"].sum())


def read(folder: Path) -> StageResult:
    """Read a finished stage; raises ManifestError or ResultError, with the file and what to do, where it cannot."""
    record = manifest.read(folder / "manifest.json")
    stage = read_stage(folder / "stage.json")
    trains = bool(stage.phases)
    metrics = read_metrics(folder / "metrics.csv", stage) if trains else None
    timing = read_timing(folder / "timing.csv") if trains else None
    before, after = read_evaluations(folder / "eval.json") if (folder / "eval.json").exists() else ({}, {})
    return StageResult(folder, stage, record, read_run(folder), metrics, timing, before, after)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises ResultError where the file is absent, is not JSON, or is not an object."""
    with _result_errors():
        found = json_file.read(path)
    if not isinstance(found, dict):
        raise ResultError(path, f"found {wording.of_kind(found)}, expected an object")
    return found


def read_stage(path: Path) -> Stage:
    """Read the resolved stage that a run was given; raises ResultError where it is not one of this version's."""
    with _result_errors():
        return stage_record.read(path.parent)


def read_run(folder: Path) -> RunRecord:
    """Read run.json; raises ResultError where it is absent or not what a run writes."""
    with _result_errors():
        return run_record.read(folder)


@contextmanager
def _result_errors() -> Iterator[None]:
    try:
        yield
    except JsonFileError as error:
        raise ResultError(error.path, error.reason) from None


def read_metrics(path: Path, stage: Stage) -> pd.DataFrame:
    """Read metrics.csv: one row per step, with the columns phase, step, tokens, clock, lr, loss, grad_norm and others.

    Adds `consumed`: the stage's ledger units after the step, counted over its phases. Raises ResultError, with the
    line, where a column or a value is missing, a number is not finite, or the clock does not grow.
    """
    return checked(_read_csv(path, ("phase", *WHOLE, *FRACTIONAL)), path, stage)


def checked(frame: pd.DataFrame, path: Path, stage: Stage) -> pd.DataFrame:
    """A table of metrics.csv as numbers, with `consumed`. Raises ResultError as `read_metrics` does."""
    for column in () if _sound(frame) else (*WHOLE, *FRACTIONAL):
        numbers = _numbers(frame[column])
        bad = ~numbers.abs().lt(2**53 if column in WHOLE else float("inf"))  # not finite, empty, or not a number
        if bad.any():
            line = int(bad.to_numpy().argmax()) + 2
            raise ResultError(
                path, f"line {line}: {column} is {frame[column].iloc[line - 2]}, expected a finite number"
            )
        frame[column] = numbers.astype("int64" if column in WHOLE else "float64")
    falls = np.diff(frame["clock"].to_numpy()) <= 0
    if falls.any():
        line = int(falls.argmax()) + 3
        raise ResultError(path, f"line {line}: clock does not grow from the step before it")
    frame["consumed"] = frame["clock"] - stage.phases[0].clock_start
    return frame


def _sound(frame: pd.DataFrame) -> bool:
    """Whether all that has to be a number was read as such and is finite: of nearly every result."""
    columns = {name: frame[name].to_numpy() for name in (*WHOLE, *FRACTIONAL)}
    return all(
        values.dtype == ("int64" if name in WHOLE else "float64")
        and bool((abs(values) < (2**53 if name in WHOLE else np.inf)).all())
        for name, values in columns.items()
    )


def read_timing(path: Path) -> pd.DataFrame:
    """Read timing.csv: one row per step, with the columns step and seconds."""
    frame = _read_csv(path, ("step", "seconds"))
    if frame["seconds"].dtype != "float64":
        frame["seconds"] = _numbers(frame["seconds"])
    found = frame["seconds"].to_numpy()
    if not ((found >= 0) & (found <= LONGEST)).all():
        raise ResultError(path, "column seconds: expected numbers that are not negative, and no ages")
    return frame


def _numbers(column: pd.Series[Any]) -> pd.Series[float]:
    """A column as numbers, nan where there is none; integers of hundreds of digits are infinite."""
    if column.dtype == object:
        column = column.astype(str)
    return pd.to_numeric(column, errors="coerce").astype("float64")


def read_evaluations(path: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Read eval.json: {"before": {...}, "after": {...}}, nested; returns dotted names and numbers of both."""
    found = read_json(path)
    for side in ("before", "after"):
        if not isinstance(found.get(side), dict):
            raise ResultError(path, f"{side}: found {found.get(side)!r}, expected an object of evaluations")
    return flatten(found["before"]), flatten(found["after"])


def flatten(tree: Any, name: str = "") -> dict[str, float]:
    """Numbers of a nested structure by dotted name; list items by their index; everything else is left out."""
    if isinstance(tree, bool):
        return {}
    if isinstance(tree, int | float):
        return {name: float(tree)}
    items: list[tuple[str, Any]] = []
    if isinstance(tree, dict):
        items = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list):
        items = [(str(key), value) for key, value in enumerate(tree)]
    found: dict[str, float] = {}
    for key, value in items:
        found |= flatten(value, f"{name}.{key}" if name else key)
    return found


def _read_csv(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    with _result_errors():
        data = json_file.read_bytes(path, TABLE)
    try:
        frame = pd.read_csv(BytesIO(data))
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ResultError(path, f"is not a table ({str(error).strip()})") from None
    missing = [column for column in needed if column not in frame.columns]
    if missing:
        raise ResultError(path, f"line 1: columns {', '.join(missing)} are missing; found {', '.join(frame.columns)}")
    if frame.empty:
        raise ResultError(path, "has no steps")
    return frame
