"""A process next to a run: it sends the rows of live.csv to one tracker as they come, and ends after the run.

`python -m stages.tracking.follow ROOT SCALE PIPELINE/STAGE KEY TRACKER PID` is started by `stages run`, which has that
id and never waits for it. It works only when a processor has nothing else to do, and is gone `LINGER` seconds after
the run at the latest, whatever its tracker does.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from filelock import FileLock
from pydantic import Field, TypeAdapter

from stages.store import attempts, files, json_file, lease, live
from stages.store.layout import Layout
from stages.tracking import backends, settings
from stages.tracking.run import Run, measured

EVERY = 5.0  # seconds between two readings of the rows: as often as they are written
LINGER = 120.0  # seconds after the end of a run in which a tracker may take what is left
AGAIN = 30.0  # seconds until a tracker that failed is tried again


@dataclass(frozen=True)
class Sent:
    """What a tracker has: its own id of the run, and the last step; `ended` once the result was sent.

    `place` is where it was sent: what has another one in tracking.yaml now has nothing yet.
    """

    id: str
    step: Annotated[int, Field(ge=0, lt=10**18)]
    ended: bool = False
    place: str = ""


_SENT = TypeAdapter(Sent)


def sent(root: Path, run: Run, name: str) -> Sent | None:
    """What a tracker has of a run, as far as the process that sent it could say; None where its folder is gone."""
    with suppress(json_file.JsonFileError, OSError):
        found = json_file.read_as(_state(run, name), _SENT)
        chosen = settings.load(root)
        if found.place == chosen.place(name) and not backends.gone(chosen, name, root, found.id):
            return found
    return None


def _state(run: Run, name: str) -> Path:
    return run.layout.run(run.key) / f"tracking-{name}.json"


class Sender:
    """Sends what a tracker does not have yet."""

    def __init__(self, root: Path, run: Run, name: str) -> None:
        self.run, self.name = run, name
        known, chosen = sent(root, run, name), settings.load(root)
        step = known.step if known else 0
        self._backend = backends.make(chosen, name, root, run, known.id if known else None, step)
        self._place = chosen.place(name)
        self._step = self._backend.has
        self._rows = live.Reader(run.layout, run.key)
        self._last: Mapping[str, str] | None = None

    def send(self) -> int:
        """Send new rows; how many."""
        count = 0
        for row in self._rows.new():
            step = int(row["step"])
            if step > self._step:
                self._backend.log(step, measured(row, self._last))
                self._step, count = step, count + 1
            self._last = row
        if count:
            self._backend.flush()
            self._note(ended=False)
        return count

    def finish(self) -> int:
        """Send the rest, and what the stage came to; how many rows."""
        count = self.send()
        found = self.run.result()
        for row in live.rows_of_result(found[0]) if found else ():  # what no attempt's file has
            if int(row["step"]) > self._step:
                self._step, count = int(row["step"]), count + 1
                self._backend.log(self._step, measured(row, None))
        newest = attempts.folders(self.run.layout, self.run.key)[:1]
        stopped = any((why := attempts.finding(one)) and why.stopped for one in newest)
        state = "FINISHED" if found else "KILLED" if stopped else "FAILED"
        self._backend.finish(self._step, self.run.evaluations(), state)
        self._note(ended=found is not None)
        return count

    def _note(self, ended: bool) -> None:
        with suppress(files.WriteError):  # then some rows are sent again, which the backends see to
            json_file.write(_state(self.run, self.name), asdict(Sent(self._backend.id, self._step, ended, self._place)))


def lock(run: Run, name: str) -> FileLock:
    """Held by the one process that sends a run to a tracker."""
    return FileLock(run.layout.run(run.key) / f"tracking-{name}.lock")


def follow(root: Path, run: Run, name: str, goes_on: Callable[[], bool]) -> None:
    """Send rows while the run goes on, and the end. Raises whatever the tracker does."""
    with lock(run, name).acquire(timeout=LINGER):
        sender = Sender(root, run, name)
        while goes_on():
            sender.send()
            time.sleep(EVERY)
        sender.finish()


def alive(run: Run, parent: int) -> Callable[[], bool]:
    """Whether the process that started this one is there, or others of the run are."""
    folder = run.layout.run(run.key)
    return lambda: os.getppid() == parent or lease.holder(folder) is not None


def end_after_run(goes_on: Callable[[], bool]) -> None:
    """End this process LINGER seconds after the run, also where a tracker waits without an end."""

    def watch() -> None:
        while goes_on():
            time.sleep(1)
        time.sleep(LINGER)
        print(f"tracking: ended {LINGER:.0f} s after the run with a tracker that had not taken all", flush=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _step_back() -> None:
    """Take only the time that no other process wants, and be the first to end where memory runs out."""
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError):
        os.nice(19)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def main(words: Sequence[str]) -> int:
    """Follow one run for one tracker. What goes wrong is printed, and tried again while the run goes on."""
    root, scale, ref, key, name, parent = words
    _step_back()
    run = Run(Layout(Path(root), scale), ref, key)
    goes_on = alive(run, int(parent))
    end_after_run(goes_on)
    while True:
        again = goes_on()
        try:
            follow(Path(root), run, name, goes_on)
            return 0
        except Exception as error:  # of any of three libraries, whose network and disk may be back in a minute
            print(f"tracking: {name}: {type(error).__name__}: {error}", flush=True)
        if not again:
            return 1
        time.sleep(AGAIN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
