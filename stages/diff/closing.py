"""The sums at the end of a difference: tokens, rotary positions, device-hours, and what is to be run again."""

from __future__ import annotations

from collections.abc import Callable

from stages.diff.effects import two
from stages.diff.semantic import Difference
from stages.plan import figures


def lines(found: Difference) -> list[str]:
    """Published pipelines first, readings beside them where there are any."""
    rope = [change.ref for change in found.changed if change.rope]
    cost, of_readings = found.published.rerun_hours + found.readings.rerun_hours, found.readings.rerun_hours
    share = f", of which {figures.short(of_readings)} are readings'" if of_readings else ""
    return [
        f"tokens: {_both(found.published.tokens, found.readings.tokens, figures.tokens)}; "
        f"RoPE: {f'changed in {len(rope)}' if rope else 'unchanged'}",
        f"{found.hours} of all pipelines on {found.hardware}: "
        f"{_both(found.published.device_hours, found.readings.device_hours, figures.short)}",
        f"to be run again: {found.rerun} stages, {figures.short(cost)} {found.hours}{share}; "
        f"{found.unchanged + len(found.shared)} stay as they are",
    ]


def _both(published: tuple[float, float], readings: tuple[float, float], write: Callable[..., str]) -> str:
    """What became of a sum; that of readings only where it changes."""
    own = "unchanged" if published[0] == published[1] else two(published, write)
    return own if readings[0] == readings[1] else f"{own} (readings {two(readings, write)})"
