"""Checkpoints of this engine: Core's torch_dist files, in a folder that is whole or absent and digested as all are.

Every rank writes its part into a temporary folder that the first rank names; the first rank then digests all files and
puts the folder in place. Core pickles what is no tensor: such a file is opened only after its digest was compared with
the one that this engine noted when it was written. Files do not depend on the layout of ranks that wrote them.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from torch.distributed.checkpoint.api import CheckpointException

from stages.engines.checkpoints import WAITED, WRITTEN
from stages.engines.nemo import disk_errors, shards, sums
from stages.engines.nemo.gathering import updates
from stages.engines.nemo.local import Owned
from stages.engines.trainer import Beside, Tables
from stages.errors import UserError
from stages.printable import printable
from stages.store import attempts, files, json_file, partials
from stages.store.files import WriteError
from stages.store.json_file import JsonFileError
from stages.train import checkpoint
from stages.train.checkpoint import COUNTERS, Counters
from stages.train.ranks import Ranks
from stages.train.stopping import LostRankError

SHOWN = 3
STATE = "state"  # the folder with Core's files
STEPS = "steps.json"  # updates made so far, by module
SUMS = "places.json"  # checksums of tensors, by name and kind
_COUNTERS, _WHOLE = TypeAdapter(Counters), TypeAdapter(dict[str, int])


class Checkpoints:
    """Writes checkpoints of one run on the first rank, while training waits."""

    def __init__(
        self,
        attempt: attempts.Attempt,
        chunks: list[Any],
        owned: Sequence[Owned],
        tables: Tables,
        beside: Beside,
        ranks: Ranks,
    ) -> None:
        """`beside` records what else a checkpoint says at this moment, and returns what writes it into a folder."""
        self._attempt, self._chunks, self._owned = attempt, chunks, owned
        self._tables, self._beside, self._ranks = tables, beside, ranks
        self.seconds = {WAITED: 0.0, WRITTEN: 0.0}

    def save(self, folder: Path, counters: Counters, wait: bool, then: Callable[[], None] = lambda: None) -> None:
        """Write a checkpoint of this moment; it is in place when this returns. `then` follows it.

        Raises WriteError and LeaseError.
        """
        began = time.perf_counter()
        self._attempt.check()
        for table in self._tables.values():
            table.flush()
        beside = self._beside()

        def fill(temporary: Path) -> None:
            checkpoint.save_counters(temporary / COUNTERS, counters)
            for name, table in self._tables.items():
                files.copy_beginning(self._attempt.result / name, temporary / name, table.written)
            beside(temporary)
            files.disk.mkdir(temporary / STATE)
            self._ranks.broadcast(str(temporary / STATE))
            _save(temporary / STATE, self._chunks, self._owned, self._ranks)

        partials.save(folder, fill)
        then()
        took = time.perf_counter() - began
        self.seconds[WAITED] += took
        self.seconds[WRITTEN] += took

    def check(self) -> None:
        """Nothing is written meanwhile."""

    def settle(self) -> None:
        """Nothing is written meanwhile."""

    def before_update(self) -> None:
        """Nothing is copied meanwhile."""


def join(chunks: list[Any], owned: Sequence[Owned], ranks: Ranks) -> None:
    """On the other ranks, while the first saves: write this rank's part."""
    _save(Path(ranks.broadcast("")), chunks, owned, ranks)


def load(folder: Path, chunks: list[Any], owned: Sequence[Owned], ranks: Ranks) -> Counters:
    """Take over a checkpoint whose digests were compared; every rank reads its part. Raises UserError."""
    from megatron.core import dist_checkpointing
    from megatron.core.dist_checkpointing.core import CheckpointingException

    try:
        made = json_file.read_as(folder / STATE / STEPS, _WHOLE)
        counters = json_file.read_as(folder / COUNTERS, _COUNTERS)
        written = _written(folder / STATE / SUMS)
        found = dist_checkpointing.load(shards.describe(chunks, owned, loading=True), str(folder / STATE))
    except CheckpointException as error:  # torch's, which is not an Exception: what ranks met while they read
        rank, (reason, _) = min(error.failures.items(), key=lambda one: one[0])
        raise _unreadable(folder, f"rank {rank}: {type(reason).__name__}: {reason}") from error
    except (CheckpointingException, JSONDecodeError, JsonFileError) as error:  # Core's own, and of our own files
        raise _unreadable(folder, str(error)) from error
    if missing := {one.placed.module for one in owned if one.counts} - made.keys():
        raise _unreadable(folder, f"{STATE}/{STEPS} counts no updates of {', '.join(sorted(missing))}")
    shards.take(found, chunks, owned, made)
    if other := [*sums.different(sums.sums(owned, ranks), written), *sums.different(updates(owned, ranks), made)]:
        raise _unreadable(folder, f"on the ranks, {', '.join(other[:SHOWN])} are not what was written")
    return counters


def _written(file: Path) -> dict[str, int]:
    """Nothing in a checkpoint of before there were any."""
    try:
        return json_file.read_as(file, _WHOLE)
    except json_file.MissingFileError:
        return {}


def _unreadable(folder: Path, found: str) -> UserError:
    """Of a checkpoint whose digests are right: its files were listed again, a disk fails, or Megatron is another."""
    return UserError(
        f"{folder}: this checkpoint cannot be read, although its files are those that {partials.NAME} lists: "
        f"{printable(' '.join(found.split()))}. Allowed: what this stage wrote, under the Megatron-Core of "
        "requirements-nemo.txt. If a disk failed, give the same command again; else remove the folder: the stage goes "
        "on from the checkpoint before it, or from its start."
    )


def _refused(folder: Path, error: CheckpointException) -> UserError:
    """A rank's error of the disk, on the first one, which hears of all; on the others that it was another."""
    if not error.failures:
        return LostRankError("a rank could not write its part of a checkpoint; the first rank says which.")
    rank, (reason, _) = min(error.failures.items(), key=lambda one: one[0])
    what = f"{folder.parent}: rank {rank} could not write its part of the checkpoint"
    if isinstance(reason, OSError):
        return files.unwritten(what, reason)
    return WriteError(
        f"{what} ({printable(str(reason))}). Nothing finished has been changed. Give the same command: a stage goes on "
        "from its last checkpoint."
    )


def _save(folder: Path, chunks: list[Any], owned: Sequence[Owned], ranks: Ranks) -> None:
    from megatron.core import dist_checkpointing
    from megatron.core.dist_checkpointing.strategies import filesystem_async

    # Results of writing come through this queue, in this process. Core's own is one between processes: it starts one.
    filesystem_async._results_queue = queue.Queue()
    try:
        with disk_errors.kept():
            dist_checkpointing.save(shards.describe(chunks, owned, loading=False), str(folder))
    except CheckpointException as error:  # not an Exception: nothing would be cleared away after it
        raise _refused(folder, error) from error
    made, found = updates(owned, ranks), sums.sums(owned, ranks)
    if ranks.first:
        json_file.write(folder / STEPS, made)
        json_file.write(folder / SUMS, found)
