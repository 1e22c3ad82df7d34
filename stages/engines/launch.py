"""The ranks of a stage as processes of this machine: started together, heard under their names, every exit noticed.

Their environment is the one that `torchrun` gives (RANK, WORLD_SIZE, MASTER_ADDR, ...): a rank need not know who
started it, and a cluster's launcher can stand where this one stands.
"""

from __future__ import annotations

import io
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from stages.engines import Inputs
from stages.errors import UserError
from stages.spec.resolved import Stage
from stages.store.layout import Layout
from stages.store.manifest import Parent
from stages.train.stopping import StoppedError

CRASHED = 70  # sysexits' EX_SOFTWARE: a rank that left with a traceback, which may only echo another rank's end
GRACE = 30.0  # seconds that ranks have for leaving by themselves after one has failed; then they are killed


def inside() -> bool:
    """Whether this process is a rank that somebody started."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def start(stage: Stage, inputs: Inputs) -> None:
    """Run a stage in as many processes as it has ranks. Raises what `launch` raises."""
    with tempfile.TemporaryDirectory(prefix="stages-ranks-") as folder:
        job = Path(folder) / "job.json"
        job.write_text(write_job(stage, inputs), encoding="utf-8")
        command = [sys.executable, "-m", "stages.engines.rank", str(job)]
        launch(command, stage.execution.ranks, f"{stage.pipeline}/{stage.name}")


def write_job(stage: Stage, inputs: Inputs) -> str:
    """What a rank must know, as JSON."""
    return json.dumps(
        {
            "stage": stage.model_dump_json(),
            "root": str(inputs.layout.root.resolve()),
            "scale": inputs.layout.scale,
            "key": inputs.key,
            "phase_keys": inputs.phase_keys,
            "parents": {ref: parent.model_dump() for ref, parent in inputs.parents.items()},
            "data_root": str(inputs.data_root.resolve()),
            "releases": {name: str(folder.resolve()) for name, folder in inputs.releases.items()},
        }
    )


def read_job(text: str) -> tuple[Stage, Inputs]:
    """The inverse of `write_job`."""
    raw = json.loads(text)
    inputs = Inputs(
        layout=Layout(Path(raw["root"]), raw["scale"]),
        key=raw["key"],
        phase_keys=tuple(raw["phase_keys"]),
        parents={ref: Parent.model_validate(parent) for ref, parent in raw["parents"].items()},
        data_root=Path(raw["data_root"]),
        releases={name: Path(folder) for name, folder in raw["releases"].items()},
    )
    return Stage.model_validate_json(raw["stage"]), inputs


@dataclass(frozen=True)
class Exit:
    """How a rank ended, and the last line it printed."""

    rank: int
    code: int
    words: str


def launch(command: Sequence[str], ranks: int, title: str) -> None:
    """Run `command` once per rank and wait for all. SIGTERM is passed on to each of them.

    Raises StoppedError where they stopped because they were asked to, and UserError where a rank failed: it names the
    rank that failed first by itself, not those that only lost it.
    """
    common = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "PYTHONUNBUFFERED": "1"}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    processes: list[subprocess.Popen[str]] = []
    listeners: list[threading.Thread] = []
    exits: queue.Queue[Exit] = queue.Queue()
    with _passing_on(processes) as asked:
        try:
            for rank in range(ranks):
                processes.append(_spawn(command, rank, common))
                listeners.append(threading.Thread(target=_listen, args=(rank, processes[rank], exits), daemon=True))
                listeners[rank].start()
            ended = _wait(processes, exits)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
            for listener in listeners:
                listener.join()
    failed = [end for end in ended if end.code]
    if failed:
        raise _verdict(failed, ranks, title, bool(asked))


def _spawn(command: Sequence[str], rank: int, common: Mapping[str, str]) -> subprocess.Popen[str]:
    environment = {**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    out, err = subprocess.PIPE, subprocess.STDOUT
    return subprocess.Popen(command, env=environment, stdout=out, stderr=err, text=True, errors="replace")


def _listen(rank: int, process: subprocess.Popen[str], exits: queue.Queue[Exit]) -> None:
    words = ""
    with process.stdout or io.StringIO() as lines:
        for line in lines:
            print(f"[rank {rank}] {line}", end="", file=sys.stderr, flush=True)
            words = line.strip() or words
    exits.put(Exit(rank, process.wait(), words))


def _wait(processes: Sequence[subprocess.Popen[str]], exits: queue.Queue[Exit]) -> list[Exit]:
    """Exits in the order in which they were noticed; those that we had to kill are not among them."""
    ended: list[Exit] = []
    while len(ended) < len(processes):
        try:
            ended.append(exits.get(timeout=GRACE if any(end.code for end in ended) else None))
        except queue.Empty:
            break
    return ended


def _verdict(failed: Sequence[Exit], ranks: int, title: str, asked: bool) -> UserError:
    stopped = [end for end in failed if end.code == StoppedError.exit_code]
    if stopped:
        return StoppedError(min(stopped, key=lambda end: end.rank).words)
    if asked and all(end.code in (-signal.SIGTERM, CRASHED) for end in failed):
        return StoppedError(f"{title}: stopped before its ranks had met; run it again.")
    killed = [end for end in failed if end.code < 0]
    first = [*killed, *(end for end in failed if end.code != CRASHED), *failed][0]
    if first.code < 0:
        how = f"was killed by {signal.Signals(-first.code).name}; run again to resume from the last checkpoint"
        return UserError(f"{title}: rank {first.rank} of {ranks} {how}. It printed last: {first.words or 'nothing'}")
    return UserError(f"{title}: rank {first.rank} of {ranks} failed (exit code {first.code}): {first.words}")


@contextmanager
def _passing_on(processes: Sequence[subprocess.Popen[str]]) -> Iterator[list[int]]:
    """Pass SIGTERM on to the ranks for the duration of the block; the list fills when it comes."""
    asked: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        for process in processes:
            process.send_signal(number)

    previous = signal.signal(signal.SIGTERM, forward)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, previous)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
