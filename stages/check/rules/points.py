"""What a point hands over at a scale, where it is at the nearest end of a step.

Its children are written for the count itself: `from: current`, or a rate of their own, is the trunk's at that count.
So a scale may move them apart by what the trunk does within a step of the point, and by no more.
"""

from __future__ import annotations

from collections.abc import Callable

from stages.check.context import Context
from stages.contract.schedule import lowest, peak
from stages.spec.resolved import Stage
from stages.spec.resolved_training import Schedule


def within_a_step(
    context: Context, ref: str | None, value: float, curve: Callable[[Stage], float | Schedule | None]
) -> bool:
    """Whether stage `ref` is a point at a shrunk scale, and its trunk's `curve` comes to `value` a step around it."""
    point = context.by_ref.get(ref or "")
    trunk = context.by_ref.get(point.trunk or "") if point is not None else None
    if point is None or trunk is None or context.shrink.shrink is None:
        return False
    schedule, phase = curve(trunk), trunk.phases[len(point.phases) - 1]
    if not isinstance(schedule, Schedule):
        return False
    last = point.phases[-1]
    end, size = last.clock_end, last.batch[-1].sequences * phase.context
    start = max(schedule.pieces[0].start, end - size)
    stop = min(schedule.pieces[-1].end, end + size)
    return lowest(schedule, start, stop)[0] <= value <= peak(schedule, start, stop)[0]
