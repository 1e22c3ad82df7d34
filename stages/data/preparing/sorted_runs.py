"""Sorted runs: the encoded documents of one stretch of the input, on disk until all of them are merged.

A run is a folder of columns. Documents lie in it by (held out, rank), equal ones in the order of the input: `rank` and
`origin` uint64, `length` int32 (tokens), `start` int64 (tokens before the document; one entry more than documents),
`tokens`, and `mask` (uint8, one per token; only where answers are supervised). After a kill, what is there can be used
when its digests say so; for that reason nothing of it is flushed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from stages.data.document import HELD_OUT_PER_MILLE
from stages.data.gather import gather
from stages.data.tokens.unknown import Found
from stages.store import files, json_file, trees
from stages.store.shards import Count, Shard, compare, listed

META = "run.json"
COLUMNS = {"rank": "<u8", "origin": "<u8", "length": "<i4", "start": "<i8"}


class Bad(json_file.Strict):
    """A row that cannot be used: its line in its piece, what is wrong, and what is allowed."""

    line: Annotated[int, Field(ge=1)]
    why: str
    allowed: str


class RunMeta(json_file.Strict):
    """The contents of a run. `rows` of its piece were read when it ended; `last` is true for the last run of a piece.

    `heldout` counts the documents that are held out, which lie at the end; `lowest` and `highest` are of their origins.
    `left` are the documents that others have, as `overlap.Left`; none of them is in the run unless it is only reported.
    `separate` are the conversations whose answers are documents of their own, and the tokens of all documents but the
    last of each conversation. `unknown` is what the tokenizer has no token for, as `unknown.Found`;
    None where it was not counted.
    """

    schema_version: Annotated[int, Field(ge=1, le=1)]
    rows: Count
    last: bool
    documents: Count
    heldout: Count
    tokens: Count
    lowest: Count
    highest: Count
    dtype: str
    bad: list[Bad]
    left: dict[str, list[Count]] = Field(default_factory=dict)
    separate: tuple[Count, Count] = (0, 0)
    unknown: tuple[Count, Count, Count] | None = None
    shards: list[Shard]


_META = TypeAdapter(RunMeta)


@dataclass(frozen=True)
class Documents:
    """Encoded documents, one after the other in `tokens`; masks only where answers are supervised."""

    ranks: NDArray[Any]
    origins: NDArray[Any]
    heldout: NDArray[np.bool_]
    lengths: NDArray[Any]
    tokens: NDArray[Any]
    masks: NDArray[np.uint8] | None


@dataclass
class Encoding:
    """Documents of a run while it is made, batch by batch. `size` is in tokens; a document counts as some more."""

    ranks: list[NDArray[np.uint64]] = field(default_factory=list)
    origins: list[NDArray[np.uint64]] = field(default_factory=list)
    lengths: list[NDArray[np.int64]] = field(default_factory=list)
    tokens: list[NDArray[Any]] = field(default_factory=list)
    masks: list[NDArray[np.uint8]] = field(default_factory=list)
    size: int = 0
    separate: tuple[int, int] = (0, 0)
    unknown: Found = field(default_factory=Found)

    def count_separate(self, lines: Sequence[int], lengths: NDArray[np.int64]) -> None:
        """Count conversations, each of which is the documents of one of the `lines`, and their tokens."""
        last = np.diff(np.array(lines, dtype=np.int64), append=-1) != 0
        conversations, repeated = self.separate
        self.separate = (conversations + int(last.sum()), repeated + int(lengths[~last].sum()))

    def documents(self, supervised: bool, dtype: str) -> Documents:
        """All of them, some held out by the hash of their content."""
        origins = _joined(self.origins, "<u8")
        masks = _joined(self.masks, "u1") if supervised else None
        return Documents(
            _joined(self.ranks, "<u8"), origins, held_out(origins), _joined(self.lengths, "<i8"),
            _joined(self.tokens, dtype), masks,
        )  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    meta: RunMeta

    def column(self, name: str) -> NDArray[Any]:
        """A whole column, read from the disk."""
        return np.fromfile(self.folder / name, dtype=self.kind(name))

    def kind(self, name: str) -> np.dtype[Any]:
        """What a column's entries are."""
        return np.dtype(self.meta.dtype if name == "tokens" else COLUMNS.get(name, "u1"))

    @property
    def supervised(self) -> bool:
        """Whether it has a column `mask`."""
        return any(shard.file == "mask" for shard in self.meta.shards)


def write(
    folder: Path,
    made: Documents,
    rows: int,
    last: bool,
    bad: list[Bad],
    left: dict[str, list[int]] | None = None,
    separate: tuple[int, int] = (0, 0),
    unknown: Found | None = None,
) -> Run:
    """Sort documents and write them. Raises WriteError."""
    order = np.lexsort((made.ranks, made.heldout))  # stable
    begins, lengths = np.cumsum(made.lengths, dtype="<i8") - made.lengths, made.lengths[order]
    starts = np.concatenate([np.zeros(1, dtype="<i8"), np.cumsum(lengths, dtype="<i8")])
    contents: dict[str, NDArray[Any]] = {
        "rank": made.ranks[order], "origin": made.origins[order], "length": lengths.astype("<i4"), "start": starts,
        "tokens": gather(made.tokens, begins[order], lengths),
    }  # fmt: skip
    if made.masks is not None:
        contents["mask"] = gather(made.masks, begins[order], lengths)

    def meta(shards: list[Shard]) -> RunMeta:
        return RunMeta(
            schema_version=1, rows=rows, last=last, documents=len(order), heldout=int(made.heldout.sum()),
            tokens=int(starts[-1]), lowest=int(made.origins.min(initial=2**64 - 1)),
            highest=int(made.origins.max(initial=0)), dtype=made.tokens.dtype.str, bad=bad, left=left or {},
            separate=separate, unknown=(unknown or Found()).numbers, shards=shards,
        )  # fmt: skip

    return put(folder, {name: [data.view(np.uint8).data] for name, data in contents.items()}, meta)


def put(folder: Path, contents: Mapping[str, files.Data], make: Callable[[list[Shard]], RunMeta]) -> Run:
    """Write the columns of a run, and what `make(shards)` says of it, whole or not at all. Raises WriteError."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    with files.failing(folder):
        trees.remove_tree(temporary)
        files.disk.mkdir(temporary)  # not flushed: of many small files, that would take most of the time
        written = {name: files.write(temporary / name, data, flush=False) for name, data in contents.items()}
        meta = make(listed(written))
        files.write(temporary / META, json_file.encode(meta.model_dump(mode="json")), flush=False)
        trees.remove_tree(folder)
        files.disk.rename(temporary, folder)
    return Run(folder, meta)


def read(folder: Path) -> Run | None:
    """A run that is there and whole, every byte of which was compared with its digests; None otherwise."""
    try:
        meta = json_file.read_as(folder / META, _META)
    except json_file.JsonFileError:
        return None
    return Run(folder, meta) if not compare(folder, meta.shards, deep=True) else None


def held_out(origins: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which documents the hash of their content holds out, as `document.held_out` does for one."""
    return np.asarray(origins % np.uint64(1000) < HELD_OUT_PER_MILLE)


def _joined(parts: list[NDArray[Any]], dtype: str) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype=dtype), *parts])
