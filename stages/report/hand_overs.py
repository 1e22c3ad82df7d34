"""The learning rate on both sides of every hand-over in the picture of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.contract.curve import lr_curve
from stages.contract.schedule import lr, lr_before
from stages.report.columns import Column, lineage_parents, points
from stages.spec.resolved import Stage
from stages.spec.resolved_training import Schedule

CONTINUOUS = 1e-6  # relative difference below which two learning rates are the same one


@dataclass(frozen=True)
class HandOver:
    """An edge in the picture: where it stands, the rate it is left with and the rate it is entered with."""

    x: float
    left: float
    right: float

    @property
    def jumps(self) -> bool:
        """Whether the rate is another one after the edge."""
        return abs(self.left - self.right) > CONTINUOUS * max(self.left, self.right)


def hand_overs(laid: Sequence[Column], stages: Mapping[str, Stage]) -> list[HandOver]:
    """Every edge between two trained stages of the columns given, or from a point of one of them."""
    by_name = {column.stage.ref: column for column in laid}
    cuts = {name: stage for name, stage in points(stages).items() if stage.trunk in by_name}
    handing = {name: column.stage for name, column in by_name.items()} | cuts
    found = []
    for name, parents in lineage_parents(stages).items():
        for old in (handing[parent] for parent in parents if name in by_name and parent in handing):
            new = by_name[name]
            assert old.schedule is not None
            left = lr(old.schedule, old.phases[-1].clock_end)
            found.append(HandOver(new.left, left, lr_before(schedule_of(new), clock_start(new))))
    return found


def schedule_of(column: Column) -> Schedule:
    """The schedule that a column's stage reads."""
    if column.stage.schedule is None:
        raise ValueError(f"stage {column.stage.ref} has no schedule, so it has no column")
    return column.stage.schedule


def planned(column: Column, points: int) -> tuple[list[float], NDArray[np.float64]]:
    """Places and rates of the curve that a column's schedule says: evenly over the stage, and again over each piece,
    since warm-ups are short; so many points each.
    """
    begin, total, schedule = clock_start(column), column.stage.budget, schedule_of(column)
    spans = [(begin + 1, begin + total), *((piece.start + 1, piece.end) for piece in schedule.pieces)]
    clocks = np.unique(np.concatenate([np.linspace(*span, points).astype(np.int64) for span in spans]))
    clocks = clocks[(clocks > begin) & (clocks <= begin + total)]
    return [column.at(int(clock) - begin) for clock in clocks], lr_curve(schedule, clocks)


def clock_start(column: Column) -> int:
    """What the schedule's clock shows when the stage begins."""
    return column.stage.phases[0].clock_start
