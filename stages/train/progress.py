"""Progress: a bar where a person watches, else a plain line every few seconds; and files for `stages status`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from stages.errors import UserError
from stages.store import attempts, live, progress

EVERY = 5.0  # seconds between two versions of the file, and two lines of a log as a phase begins
RARER = 0.1  # of the time that a phase has taken: so long passes between two lines, a minute at most
RAREST = 60.0


class Progress:
    """Shows one phase in lines, its begin and its end among them: `title` is "pipeline/stage phase"."""

    def __init__(self, title: str, done: int, steps: int) -> None:
        self.title, self.done, self.steps = title, done, steps
        self._began = self._shown = time.monotonic()
        self._first, self._units = done, 0

    def begin(self) -> None:
        """Say that the phase begins, or goes on."""
        if self.done < self.steps:
            self.show("goes on" if self.done else "begins")

    def step(self, units: int, loss: float, lr: float) -> None:
        """Count a finished step of so many units; a line of it now and then, and of the last one."""
        self.done += 1
        self._units += units
        now = time.monotonic()
        if now - self._shown >= min(RAREST, max(EVERY, RARER * (now - self._began))) or self.done == self.steps:
            self._shown = now
            self.show(f"loss {loss:.3f} lr {lr:.1e} {self._speed(now)}")

    def show(self, text: str) -> None:
        """Print one line."""
        print(f"{self.title} {self.done}/{self.steps} {text}", file=sys.stderr, flush=True)

    def _speed(self, now: float) -> str:
        seconds = max(now - self._began, 1e-9)
        rate = self._units / seconds
        left = (self.steps - self.done) * seconds / max(self.done - self._first, 1)
        short = f"{rate / 1000:.1f}k" if rate >= 1000 else f"{rate:.0f}"
        when = f"eta {_clock(left)}" if self.done < self.steps else f"done in {_clock(seconds)}"
        return f"{short} tok/s {when}"


def _clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Bar(Progress):
    """The same on a terminal, in place."""

    def __init__(self, title: str, done: int, steps: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        from stages.terminal import Console

        super().__init__(title, done, steps)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
        self._bar = Progress(*columns, TextColumn("{task.fields[text]}"), console=Console(stderr=True))
        self._task = self._bar.add_task(title, total=steps, completed=done, text="")
        self._bar.start()

    def step(self, units: int, loss: float, lr: float) -> None:
        """Count a finished step."""
        self.done += 1
        self._units += units
        text = f"loss {loss:.3f} lr {lr:.1e} {self._speed(time.monotonic())}"
        self._bar.update(self._task, completed=self.done, text=text)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()


@contextmanager
def watching(title: str, done: int, steps: int) -> Iterator[Progress]:
    """Progress of a phase of `steps` steps, `done` of which are behind us."""
    if not sys.stderr.isatty():
        lines = Progress(title, done, steps)
        lines.begin()
        yield lines
        return
    bar = Bar(title, done, steps)
    try:
        yield bar
    finally:
        bar.close()


class Note:
    """Writes into an attempt's folder how far the stage is, of `steps` over all phases.

    Nothing is written once a later run has taken over the stage, of which this one learns at its next heartbeat.
    """

    def __init__(self, attempt: attempts.Attempt, steps: int) -> None:
        self.attempt, self.steps = attempt, steps
        self._phase, self._first, self._began, self._written = "", 0, 0.0, float("-inf")
        self._rows = live.Rows(attempt.folder)

    def __enter__(self) -> Note:
        return self

    def __exit__(self, *_: object) -> None:
        """The last rows, whatever ended the run: they show what came before."""
        with suppress(UserError):
            self.attempt.check()
            self._rows.flush()

    def row(self, columns: Sequence[str], row: live.Row, seconds: float) -> None:
        """Keep a step's row of metrics.csv, which is written to live.csv with the next note."""
        self._rows.add(columns, row, seconds)

    def step(self, phase: str, step: int, seconds: float) -> None:
        """Note a finished step, counted over all phases, which took `seconds`."""
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._first, self._began = phase, step - 1, now - seconds
        if now - self._written >= EVERY or step == self.steps:
            self._written = now
            with suppress(UserError):
                self.attempt.check()
                pace = (now - self._began) / (step - self._first)
                self._rows.flush()
                progress.write(self.attempt.folder, phase, step, self.steps, pace)
