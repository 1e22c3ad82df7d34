"""Rows of results/records/gpu.md: one figure each, beside its alternative."""

from __future__ import annotations

import gc
import json
import statistics
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, assert_never

import torch

Goal = tuple[Literal[">=", "<=", "within"], float]
NEAR: Goal = ("within", 0.10)  # a plan's figure: ours / measured between 0.9 and 1.1


@dataclass(frozen=True)
class Row:
    """What was measured and how, our figure, the alternative's, their ratio, and the goal for it where there is one."""

    what: str
    setting: str
    ours: str
    beside: str = ""
    ratio: str = ""
    goal: str = ""
    failed: bool = False


class Rows:
    """The rows of one section, each on the disk as soon as it is known."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def add(self, row: Row) -> None:
        """Append a row."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        print(" | ".join(filter(None, (row.what, row.setting, row.ours, row.beside, row.ratio, row.goal))), flush=True)

    def measure(self, what: str, function: Callable[[], Row | Sequence[Row]], setting: str = "") -> None:
        """Add what `function` returns; where it raises, whatever it is, that is the row, and the next is measured.

        Raises where memory cannot be given back: CUDA then answers nothing else in this process.
        """
        try:
            found = function()
        except Exception as error:
            traceback.print_exc()
            self.add(Row(what, setting, f"failed: {first_line(error)}", failed=True))
        else:
            for row in [found] if isinstance(found, Row) else found:
                self.add(row)
        free()


def read(path: Path) -> list[Row]:
    """The rows that a section left behind; none where it did not come to write any."""
    if not path.exists():
        return []
    return [Row(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def against(
    what: str, setting: str, ours: float, beside: tuple[str, float], unit: str, goal: Goal | None = None
) -> Row:
    """Our figure and the named alternative's, in one unit, with ours / theirs and whether that meets the goal."""
    name, theirs = beside
    ratio = ours / theirs
    return Row(what, setting, figure(ours, unit), f"{figure(theirs, unit)} ({name})", f"{ratio:.3f}", met(ratio, goal))


def met(found: float, goal: Goal | None) -> str:
    """The goal and whether it is met."""
    if goal is None:
        return ""
    sign, wanted = goal
    match sign:
        case ">=":
            good = found >= wanted
        case "<=":
            good = found <= wanted
        case "within":
            good = abs(found - 1) <= wanted
        case _:
            assert_never(sign)
    return f"{sign} {wanted:g}: {'met' if good else 'missed'}"


def figure(value: float, unit: str) -> str:
    """A number with its unit: 3 significant digits, or whole thousands."""
    return f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"


def first_line(error: BaseException) -> str:
    """An error in one line of a table."""
    text = (str(error).strip().splitlines() or [""])[0].replace("|", "/")
    return f"{type(error).__name__}: {text[:200]}".rstrip(": ")


def free() -> None:
    """Give back what the last measurement held on the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def seconds(function: Callable[[], object], device: torch.device, repeat: int, warm: int = 2) -> float:
    """Median seconds of one call: by CUDA events on a GPU, whose work is asynchronous, by the clock on a CPU."""
    from time import perf_counter

    for _ in range(warm):
        function()
    times = []
    for _ in range(repeat):
        if device.type == "cuda":
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            function()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1e3)
        else:
            began = perf_counter()
            function()
            times.append(perf_counter() - began)
    return statistics.median(times)
