"""Defects in how a stage goes on after a kill, each of which an undisturbed run does not show."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from stages.data.loading.loader import PhaseData
from stages.engines import training
from stages.store import files, finish, manifest, partials, seal, trees
from stages.store.attempts import Attempt
from stages.store.layout import Layout
from stages.train import checkpoint
from stages.train.metrics import Table
from stages.train.optimizer import Optimizer


def optimizer_not_restored() -> None:
    load = checkpoint.load

    def without(folder: Path, modules: Any, optimizer: Optimizer, trained: Any) -> checkpoint.Counters:
        return load(folder, modules, optimizer, ())

    checkpoint.load = without


def router_not_restored() -> None:
    load = checkpoint.load

    def without(folder: Path, modules: Any, *rest: Any) -> checkpoint.Counters:
        buffers = {name: buffer.clone() for name, buffer in modules.named_buffers()}
        counters = load(folder, modules, *rest)
        for name, buffer in modules.named_buffers():
            buffer.copy_(buffers[name])
        return counters

    checkpoint.load = without


class Forgetful(PhaseData):
    """Counts what it has read by itself, in a number that no checkpoint holds."""

    position = 0

    def samples(self, first: int, count: int, tail: int) -> Any:
        rows = super().samples(self.position, count, tail)
        self.position += count
        return rows


def data_not_restored() -> None:
    training.PhaseData = Forgetful  # type: ignore[misc]


def rows_left_out() -> None:
    training.Table = lambda path, columns, before: Table(path, columns, None)  # type: ignore[misc, assignment]


def rows_of_the_killed_attempt() -> None:
    """They reach further than the checkpoint where the kill came between the two."""

    def table(path: Path, columns: Any, before: Path | None) -> Table:
        earlier = sorted(path.parents[2].glob(f"attempt-*/result/{path.name}"))
        return Table(path, columns, earlier[-1] if before and earlier else before)

    training.Table = table  # type: ignore[misc, assignment]


def checkpoint_written_in_place() -> None:
    def save(folder: Path, write: Callable[[Path], object]) -> Path:
        files.make_dirs(folder)
        write(folder)
        return folder

    partials.save = save
    partials.valid = lambda folder: True


def earlier_checkpoints_go_first() -> None:
    save = partials.save

    def after_clearing(folder: Path, write: Callable[[Path], object]) -> Path:
        for old in partials.listed(folder.parent):
            trees.remove_tree(old)
        return save(folder, write)

    partials.save = after_clearing


def manifest_before_shards() -> None:
    """The result is copied into place file by file, the manifest first."""

    def put_in_place(layout: Layout, ref: str, folder: Path) -> None:
        place = layout.stage(ref)
        shutil.rmtree(place, ignore_errors=True)
        for file in sorted(trees.files_under(folder), key=lambda name: name != manifest.NAME):
            files.write_atomic(place / file, (folder / file).read_bytes())

    finish.put_in_place = put_in_place


def manifest_written_in_place() -> None:
    def commit(attempt: Attempt, record: manifest.Manifest) -> str:
        seal.write(attempt.result, manifest.NAME, manifest.encode(record), record)
        finish.put_in_place(attempt.layout, attempt.ref, attempt.result)
        return manifest.write(attempt.layout.stage(attempt.ref), record)

    finish.finish = commit


class Defect(NamedTuple):
    """A defect, the case and the place of a kill that it shows itself in, and what puts it into the code."""

    case: str
    place: str
    what: str
    make: Callable[[], None]


DEFECTS = {
    "optimizer": Defect("next_token", "result", "the optimizer's state is not restored", optimizer_not_restored),
    "router": Defect("moe", "result", "the router's biases are not restored", router_not_restored),
    "data": Defect("next_token", "result", "the loader begins again at the first sample", data_not_restored),
    "rows out": Defect("sft", "result", "rows of metrics before the checkpoint are left out", rows_left_out),
    "rows twice": Defect(
        "sft", "checkpoint", "rows of metrics after the checkpoint are kept", rows_of_the_killed_attempt
    ),
    "in place": Defect(
        "looped", "checkpoint", "a checkpoint is written in place and believed by its name", checkpoint_written_in_place
    ),
    "go first": Defect(
        "joint", "checkpoint", "earlier checkpoints go before the new one is whole", earlier_checkpoints_go_first
    ),
    "manifest first": Defect("coca", "commit", "the manifest is in place before the shards", manifest_before_shards),
    "manifest last": Defect("align", "commit", "the result is in place before its manifest", manifest_written_in_place),
}


def put(name: str) -> None:
    """Put a defect into the code that this process runs; "" is none."""
    if name:
        DEFECTS[name].make()
