"""The campaign on several processes: each has its own copy of the specs; outcomes are written in the order of slips."""

from __future__ import annotations

import json
import multiprocessing
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.mutants.campaign import edits
from tests.mutants.campaign.edits import Edit
from tests.mutants.campaign.trial import Bench

SEED = 10
_bench: Bench


def run(specs: Path, out: Path, processes: int, each: int | None) -> None:
    """Try every slip, or `each` of each class, and write the outcomes."""
    tried = sample(edits.every(specs), each) if each is not None else edits.every(specs)
    with tempfile.TemporaryDirectory() as folder, out.open("w") as file:
        context = multiprocessing.get_context("fork")
        with context.Pool(processes, _prepare, (specs, folder)) as pool:
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


def _prepare(specs: Path, folder: str) -> None:
    global _bench
    _bench = Bench(specs, Path(folder) / multiprocessing.current_process().name)


def _try(edit: Edit) -> dict[str, Any]:
    outcome = asdict(_bench.try_out(edit))
    return {"file": edit.file, "place": edit.place, "where": edit.where, "slip": edit.slip,
            "old": edit.old, "new": edit.new, **outcome}  # fmt: skip
