"""The campaign on several processes: each has a project of its own; outcomes are written in the order of slips."""

from __future__ import annotations

import json
import multiprocessing
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.mutants.campaign.edits import Edit
from tests.mutants.campaign.trial import Bench

SEED = 10
_bench: Bench


Write = Callable[[Path], Path]  # a project into a folder, which it returns


def run(write: Write, slips: Callable[[Path], list[Edit]], out: Path, processes: int, each: int | None) -> None:
    """Try every one of a project's `slips` (given its specs/), or `each` of each class, and write the outcomes."""
    with tempfile.TemporaryDirectory() as folder, out.open("w") as file:
        every = slips(write(Path(folder) / "read") / "specs")
        tried = sample(every, each) if each is not None else every
        context = multiprocessing.get_context("fork")
        with context.Pool(processes, _prepare, (write, folder)) as pool:
            for row in pool.imap(_try, tried, chunksize=20):
                file.write(json.dumps(row) + "\n")


def sample(tried: Sequence[Edit], each: int) -> list[Edit]:
    """So many of each class (the same key and the same slip), the same ones in every run."""
    return list(_drawn(random.Random(SEED).sample(tried, len(tried)), each))


def _drawn(shuffled: Sequence[Edit], each: int) -> Iterator[Edit]:
    seen: Counter[tuple[str, str]] = Counter()
    for edit in shuffled:
        seen[edit.where, edit.slip] += 1
        if seen[edit.where, edit.slip] <= each:
            yield edit


def _prepare(write: Write, folder: str) -> None:
    global _bench
    _bench = Bench(write(Path(folder) / multiprocessing.current_process().name))


def _try(edit: Edit) -> dict[str, Any]:
    outcome = asdict(_bench.try_out(edit))
    return {"file": edit.file, "place": edit.place, "where": edit.where, "slip": edit.slip,
            "old": edit.old, "new": edit.new, **outcome}  # fmt: skip
