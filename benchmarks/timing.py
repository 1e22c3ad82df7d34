"""Two ways of doing one thing, timed side by side in one process: only ratios within one run are compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """Seconds of ours and of the plain way, one pair per repetition; `each` says what one repetition does."""

    name: str
    each: str
    ours: tuple[float, ...]
    plain: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Median over the repetitions of ours / plain."""
        return statistics.median(a / b for a, b in zip(self.ours, self.plain, strict=True))

    def cells(self) -> tuple[str, ...]:
        """A line of the table: name, what, medians in milliseconds, ratio with lowest and highest."""
        ratios = [a / b for a, b in zip(self.ours, self.plain, strict=True)]
        ours, plain = (f"{statistics.median(times) * 1e3:,.1f} ms" for times in (self.ours, self.plain))
        spread = f"{self.ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        return self.name, self.each, ours, plain, spread


def compare(
    name: str,
    each: str,
    ours: Callable[[], object],
    plain: Callable[[], object],
    repetitions: int,
    before: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Time both in turn, after one untimed round each; which comes first alternates, so that a drift hits both.

    `before` is called ahead of each, and not timed. `clock` gives seconds.
    """
    for way in (ours, plain):
        before(), way()
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(repetitions):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            before()
            began = clock()
            (ours, plain)[which]()
            times[which].append(clock() - began)
    return Comparison(name, each, tuple(times[0]), tuple(times[1]))


def show(comparisons: list[Comparison]) -> None:
    """Print one line each, with every single ratio."""
    for comparison in comparisons:
        each = ", ".join(f"{a / b:.2f}" for a, b in zip(comparison.ours, comparison.plain, strict=True))
        print(" | ".join(comparison.cells()), f"| each: {each}", flush=True)
