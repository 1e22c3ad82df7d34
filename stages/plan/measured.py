"""Predictions compared with measurements: time and peak memory of the stages that have been run."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.table import Table

from stages.errors import UserError
from stages.plan.pipeline import PipelinePlan
from stages.plan.stage import StagePlan
from stages.store import run_record
from stages.store.json_file import JsonFileError
from stages.store.layout import Layout

MEGA = 10**6


@dataclass(frozen=True)
class Compared:
    """A finished stage: seconds of its steps (timing.csv) and peak memory in MB (run.json), predicted and measured."""

    ref: str
    predicted_seconds: float
    measured_seconds: float
    predicted_mb: float
    measured_mb: float | None  # None: the run did not record it

    @property
    def time_error(self) -> float:
        """Signed, relative to the measurement."""
        return self.predicted_seconds / self.measured_seconds - 1

    @property
    def memory_error(self) -> float | None:
        """Signed, relative to the measurement."""
        return None if self.measured_mb is None else self.predicted_mb / self.measured_mb - 1


def compare(layout: Layout, plans: Sequence[PipelinePlan]) -> list[Compared]:
    """All finished training stages of the plans. Raises UserError where there is none, or a file is not a run's."""
    found = [one for plan in plans for stage in plan.stages if (one := _compare(layout, stage)) is not None]
    if not found:
        place = layout.results / layout.scale
        raise UserError(f"{place}: no finished training stage of these pipelines to measure.{_at(layout, plans)}")
    return found


def _at(layout: Layout, plans: Sequence[PipelinePlan]) -> str:
    """The scales at which the pipelines have results, as a message names them."""
    there = {path.parts[-2] for plan in plans for path in layout.results.glob(f"*/{plan.name}")} - {layout.scale}
    return f" They have results at {', '.join(sorted(there))}: --scale." if there else ""


def _compare(layout: Layout, stage: StagePlan) -> Compared | None:
    folder = layout.stage(stage.ref)
    timing = folder / "timing.csv"
    if not stage.phases or not layout.manifest(stage.ref).is_file():
        return None
    try:
        with timing.open(encoding="utf-8", newline="") as file:
            seconds = sum(float(row["seconds"]) for row in csv.DictReader(file))
        record = run_record.read(folder)
    except (OSError, KeyError, ValueError, TypeError, JsonFileError) as error:
        raise UserError(
            f"{folder}: timing.csv or run.json cannot be read ({error!r}). Run the stage again to measure it."
        ) from None
    if not 0 < seconds < float("inf"):
        raise UserError(f"{timing}: found no time, expected seconds of at least one step. Run the stage again.")
    memory = max(phase.memory.total for phase in stage.phases) / MEGA
    return Compared(stage.ref, stage.seconds, seconds, memory, record.peak_memory_mb)


def table(scale: str, compared: Sequence[Compared]) -> Table:
    """One row a stage."""
    shown = Table(title=f"predicted and measured at {scale}", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("stage", "s predicted", "s measured", "error", "MB predicted", "MB measured", "error"):
        shown.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
    for one in compared:
        memory = ("not recorded", "") if one.measured_mb is None else (f"{one.measured_mb:.0f}", _percent(one))
        shown.add_row(
            one.ref,
            f"{one.predicted_seconds:.1f}",
            f"{one.measured_seconds:.1f}",
            f"{one.time_error:+.0%}",
            f"{one.predicted_mb:.0f}",
            *memory,
        )
    return shown


def _percent(compared: Compared) -> str:
    return "" if compared.memory_error is None else f"{compared.memory_error:+.0%}"


def summary(compared: Sequence[Compared]) -> str:
    """The total's error, and the median of the stages' absolute errors."""
    predicted = sum(one.predicted_seconds for one in compared)
    measured = sum(one.measured_seconds for one in compared)
    median = statistics.median(abs(one.time_error) for one in compared)
    text = (
        f"time: {predicted:.0f} s predicted, {measured:.0f} s measured ({predicted / measured - 1:+.0%}); "
        f"median error of a stage {median:.0%}"
    )
    errors = [abs(one.memory_error) for one in compared if one.memory_error is not None]
    return text + (f"\nmemory: median error of a stage {statistics.median(errors):.0%}" if errors else "")


def as_json(compared: Compared) -> dict[str, Any]:
    """The comparison as plain values."""
    return asdict(compared) | {"time_error": compared.time_error, "memory_error": compared.memory_error}
