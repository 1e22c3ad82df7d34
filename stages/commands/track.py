"""`stages track`: send to the trackers of tracking.yaml what they do not have yet, of stages that do not run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import Timeout

from stages.commands.find_project import named_refs, open_graph
from stages.errors import UserError, page
from stages.store import attempts, lease
from stages.tracking import follow, settings
from stages.tracking.run import Run


def track(names: Sequence[str], scale: str) -> int:
    """Send rows, evaluations and lineage of the stages named, or of all; exit code 1 where a tracker took them not.

    Raises UserError where there is no tracker to send to or its package is missing, UsageError for unknown names.
    """
    layout, _, loaded = open_graph(scale)
    wanted = settings.load(layout.root).named()
    if not wanted:
        raise UserError(
            f"{settings.FILE} is not there, or names no tracker; allowed: tensorboard, wandb and mlflow, such as the "
            f"line `tensorboard: {{folder: tracking/tensorboard}}` ({page('tracking')})."
        )
    missing = [why for name in wanted if (why := settings.absent(name))]
    if missing:
        raise UserError("\n".join(missing))
    runs = [Run(layout, ref, loaded.keys[ref]) for ref in named_refs(loaded, names)]
    lines = [line for run in runs for name in wanted for line in _send(layout.root, run, name)]
    print("\n".join(lines) if lines else f"every tracker has what there is at {scale}")
    return 1 if any(": not sent: " in line for line in lines) else 0


def _send(root: Path, run: Run, name: str) -> Iterator[str]:
    """Lines on what was sent of a run; none where there is nothing, or nothing new."""
    result, known = run.result(), follow.sent(root, run, name)
    if (known is not None and known.ended) or not (result or attempts.folders(run.layout, run.key)):
        return
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
