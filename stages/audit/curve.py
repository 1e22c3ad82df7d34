"""The learning rate of a recipe as a schedule in steps, by the project's own arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.audit.loads import on_load
from stages.audit.recipe import Stage
from stages.contract import schedule
from stages.spec.resolved_training import Piece, Schedule

JUMP = 1.05  # of a rate: less is rounding
SHAPED = frozenset({"linear", "cosine"})


@dataclass(frozen=True)
class Curve:
    """Warm-up from `init` to `peak` over `warmup` steps; at the peak until `start`; at `floor` from `end` on.

    `shape` is that between start and end; "other" has known ends and unknown values between; "half_cosine" is the
    second half of a cosine, so that its peak is the middle of the full cosine's.
    """

    init: float
    peak: float
    floor: float
    warmup: int
    start: int
    end: int
    shape: str

    def at(self, step: int) -> float | None:
        """The rate after `step` steps; None before the first one, and where the shape's values are not modelled."""
        if step < 0:
            return None
        if step >= self.end and self.shape != "constant":
            return self.floor
        if step <= self.warmup and self.warmup > 0:
            return self._piece(self.init, self.peak, 0, self.warmup, step, "linear")
        if self.shape == "constant" or step <= self.start:
            return self.peak
        match self.shape:
            case "linear" | "cosine" as shape:
                return self._piece(self.peak, self.floor, self.start, self.end, step, shape)
            case "half_cosine":
                top = 2 * self.peak - self.floor
                return self._piece(top, self.floor, 2 * self.start - self.end, self.end, step, "cosine")
            case _:
                return None

    @staticmethod
    def _piece(first: float, last: float, start: int, end: int, step: int, shape: Literal["linear", "cosine"]) -> float:
        piece = Piece(start=0, end=end - start, shape=shape, first=first, last=last, p0=(0, 1), p1=(1, 1))
        return schedule.lr(Schedule(name="recipe", pieces=(piece,)), step - start)


def apart(old: float, new: float) -> bool:
    """Whether two rates differ by more than rounding."""
    return old != new and (min(old, new) == 0 or max(old, new) / min(old, new) > JUMP)


def of(stage: Stage) -> Curve | None:
    """The curve of a settled stage, None where a figure that it needs is unknown."""
    peak, style = stage.number("lr"), stage.text("decay")
    warmup, end = stage.count("warmup_steps"), stage.count("decay_steps")
    floor = stage.number("min_lr")
    loads = on_load(stage)
    if peak is None or style is None or warmup is None or warmup < 0:
        return None
    if loads is not None and loads.scheduler in {"checkpoint", "peak"}:
        return None  # the checkpoint's figures count
    init = stage.number("warmup_init") or 0.0
    if style == "constant":
        return Curve(init, peak, peak, warmup, warmup, warmup, "constant")
    if end is None or floor is None or end <= warmup:
        return None
    style = style.lower()
    if style == "wsd":
        tail = stage.count("wsd_steps")
        if tail is None or not 0 <= tail <= end:
            return None
        shape = (stage.text("wsd_decay") or "other").lower()
        return Curve(init, peak, floor, warmup, max(warmup, end - tail), end, shape if shape in SHAPED else "other")
    if style == "half_cosine":
        return Curve(init, (peak + floor) / 2, floor, warmup, warmup, end, style)
    start = max(warmup, stage.count("decay_start") or 0)
    return Curve(init, peak, floor, warmup, start, end, style if style in SHAPED else "other")
