"""Starting the processes that send a run's rows, and never waiting for them."""

from __future__ import annotations

import os
import sys

from stages.errors import UserError
from stages.store import files
from stages.store.layout import Layout
from stages.tracking import settings


def start(layout: Layout, ref: str, key: str) -> list[int]:
    """Start a process for each tracker of tracking.yaml; their ids. What keeps one from starting is printed, no error.

    A process has a session of its own, so that what ends the run's processes does not cut off its last rows, and none
    of the run's files: what it says goes to tracking-<tracker>.txt next to the run's log.
    """
    try:
        wanted = settings.load(layout.root).named()
    except UserError as error:
        print(f"tracking: not started: {error}", file=sys.stderr)
        return []
    started = []
    for name in wanted:
        why = settings.absent(name)
        try:
            if why is None:
                started.append(_spawn(layout, ref, key, name))
        except (OSError, UserError) as error:
            why = f"{name} could not be started: {error}"
        if why is not None:
            print(f"tracking: {why}", file=sys.stderr)
    return started


def _spawn(layout: Layout, ref: str, key: str, name: str) -> int:
    files.make_dirs(layout.run(key))
    output = layout.run(key) / f"tracking-{name}.txt"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK
    actions: list[tuple[int, ...]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),  # type: ignore[list-item]
        (os.POSIX_SPAWN_OPEN, 1, str(output), flags, 0o666),  # type: ignore[list-item]
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    words = [
        sys.executable,
        "-m",
        "stages.tracking.follow",
        str(layout.root),
        layout.scale,
        ref,
        key,
        name,
        str(os.getpid()),
    ]
    return os.posix_spawn(sys.executable, words, environment, file_actions=actions, setsid=True)
