"""`stages track`: send to the trackers of tracking.yaml what they do not have yet, of stages that do not run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import Timeout

from stages.commands.find_project import named_refs, open_graph
from stages.errors import UserError, page
from stages.store import attempts, lease
from stages.tracking import follow, reach, settings
from stages.tracking.run import Run


def track(names: Sequence[str], scale: str) -> int:
    """Send rows, evaluations and lineage of the stages named, or of all; exit code 1 where a tracker did not take them.

    Raises UserError where there is no tracker to send to or its package is missing, UsageError for unknown names.
    """
    layout, _, loaded = open_graph(scale)
    refs = named_refs(loaded, names)
    chosen = settings.load(layout.root)
    wanted = chosen.named()
    if not wanted:
        raise UserError(
            f"{settings.FILE} is not there, or names no tracker; allowed: tensorboard, wandb and mlflow, such as the "
            f"line `tensorboard: {{folder: tracking/tensorboard}}` ({page('tracking')})."
        )
    missing = [why for name in wanted if (why := settings.absent(name))]
    if missing:
        raise UserError("\n".join(missing))
    runs = [Run(layout, ref, loaded.keys[ref]) for ref in refs]
    due = [(run, name) for run in runs for name in wanted if _due(layout.root, run, name)]
    silent = {name: why for name in dict.fromkeys(name for _, name in due) if (why := reach.no_answer(chosen, name))}
    lines = [line for run, name in due if name not in silent for line in _send(layout.root, run, name)]
    for name, why in silent.items():
        waiting = sum(name == one for _, one in due)
        lines.append(f"{waiting} stage{'s' * (waiting != 1)}: not sent: {name}: {why}")
    print("\n".join(lines) if lines else f"every tracker has what there is at {scale}")
    return 1 if any(": not sent: " in line for line in lines) else 0


def _due(root: Path, run: Run, name: str) -> bool:
    """Whether there is something of a run that a tracker does not have."""
    known = follow.sent(root, run, name)
    there = run.result() or attempts.folders(run.layout, run.key)
    return bool(there) and not (known is not None and known.ended)


def _send(root: Path, run: Run, name: str) -> Iterator[str]:
    """Lines on what was sent of a run."""
    if lease.holder(run.layout.run(run.key)) is not None:
        yield f"{run.ref}: runs; what it started sends its rows to {name}"
        return
    try:
        with follow.lock(run, name).acquire(timeout=0):
            count = follow.Sender(root, run, name).finish()
    except Timeout:
        yield f"{run.ref}: another process is sending to {name}"
    except Exception as error:  # of any of three libraries
        yield f"{run.ref}: not sent: {name}: {type(error).__name__}: {error}"
    else:
        yield f"{run.ref}: {count:,} steps to {name}"
