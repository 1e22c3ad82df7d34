"""Many sorted runs to one corpus: by rank, training documents first, in memory that does not grow with the corpus.

More runs than `FAN` are merged in passes, `FAN` neighbours into a longer one, until so many are left: the number of
files that are open at once, and the memory for them, are the same for any corpus. Longer runs are kept like the others,
so a preparation that was killed uses them. Nothing is kept of a stretch once it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.data.corpus import mmidx
from stages.data.gather import gather
from stages.data.preparing import sorted_runs
from stages.data.preparing.merge_blocks import stretches
from stages.data.preparing.progress import Progress
from stages.data.preparing.sorted_runs import Documents, Run, RunMeta
from stages.store import files
from stages.store.files import Data
from stages.store.shards import Shard

FAN = 128  # runs that are merged at once; times merge_blocks.FILES, open files, of which many systems allow 1,024


@dataclass(frozen=True)
class Merge:
    """Runs in the order of the input, and where the merged lengths are kept (int32 per document).

    With `once`, of documents that say the same the first one alone is kept.
    """

    runs: Sequence[Run]
    once: bool
    lengths: Path
    dropped: int  # documents that another one equals
    documents: int  # before the held-out ones
    size: int  # tokens of these
    tokens: int  # of all
    heldout: int
    longest: int

    def contents(self, supervised: bool, progress: Progress) -> dict[str, Data]:
        """The files of the prepared corpus, as blocks that are made when they are read, of `bytes` in all."""
        dtype = np.dtype(self.runs[0].meta.dtype)
        blocks = {
            "tokens.bin": _blocks(self.runs, "tokens", self.once),
            "tokens.idx": mmidx.index_blocks(self.length_blocks, self.documents + self.heldout, dtype),
        } | ({"mask.bin": _blocks(self.runs, "mask", self.once)} if supervised else {})
        return {name: progress.counted(one) for name, one in blocks.items()}

    def bytes(self, supervised: bool) -> int:
        """What `contents` comes to."""
        dtype, documents = np.dtype(self.runs[0].meta.dtype), self.documents + self.heldout
        return self.tokens * (dtype.itemsize + supervised) + mmidx.index_size(documents)

    def length_blocks(self, most: int | None = None) -> Iterator[NDArray[np.int64]]:
        """Lengths of the documents in order, or of the first `most`, in blocks."""
        left, at, block = self.documents + self.heldout if most is None else most, 0, 1 << 20
        while left > 0:
            found = np.fromfile(self.lengths, dtype="<i4", count=min(left, block), offset=4 * at).astype(np.int64)
            yield found
            left, at = left - len(found), at + len(found)


def merge(corpus: str, found: Sequence[Run], folder: Path, once: bool = False) -> Merge:
    """Merge the lengths alone, and count; `folder` is for them and for longer runs. Raises WriteError."""
    every = sum(run.meta.documents for run in found)
    found = _in_passes(corpus, found, folder, once)
    count = _Count()
    files.write(folder / "lengths", count.lengths(found, once), flush=False)
    dropped = every - count.documents - count.heldout
    return Merge(
        found, once, folder / "lengths", dropped, count.documents, count.size, count.tokens, count.heldout,
        count.longest,
    )  # fmt: skip


@dataclass
class _Count:
    """What there is in stretches, counted while their lengths are written; `size` is the tokens not held out."""

    documents: int = 0
    heldout: int = 0
    size: int = 0
    tokens: int = 0
    longest: int = 0

    def lengths(self, found: Sequence[Run], once: bool) -> Iterator[memoryview]:
        """The column of the merged lengths."""
        for stretch in stretches(found, once):
            lengths = stretch.column("length")
            tokens = int(lengths.sum(dtype=np.int64))
            self.documents += 0 if stretch.heldout else len(lengths)
            self.heldout += len(lengths) if stretch.heldout else 0
            self.size += 0 if stretch.heldout else tokens
            self.tokens += tokens
            self.longest = max(self.longest, int(lengths.max(initial=0)))
            yield memoryview(lengths.tobytes())


def _in_passes(corpus: str, found: Sequence[Run], folder: Path, once: bool) -> Sequence[Run]:
    """As many runs as are merged at once, in the same order and of the same documents."""
    level = 0
    while len(found) > FAN:
        longer, total = list[Run](), sum(shard.size for run in found for shard in run.meta.shards)
        with closing(Progress(corpus, total, did="merged")) as progress:
            for first in range(0, len(found), FAN):
                place = folder / f"merged-{level}-{first // FAN:06d}"
                kept = sorted_runs.read(place)
                progress.add(0 if kept is None else sum(shard.size for shard in kept.meta.shards))
                longer.append(kept or _longer(found[first : first + FAN], place, once, progress))
        found, level = longer, level + 1
    return found


def _longer(found: Sequence[Run], place: Path, once: bool, progress: Progress) -> Run:
    """One run of several neighbours."""
    count = _Count()
    contents = {
        "length": count.lengths(found, once),
        "start": _starts(found, once),
        **{name: _documents(found, name, once) for name in ("rank", "origin")},
        **{name: _blocks(found, name, once) for name in ("tokens", *(("mask",) if found[0].supervised else ()))},
    }

    def meta(shards: list[Shard]) -> RunMeta:
        return RunMeta(
            schema_version=1, rows=0, last=True, documents=count.documents + count.heldout, heldout=count.heldout,
            tokens=count.tokens, lowest=min(run.meta.lowest for run in found),
            highest=max(run.meta.highest for run in found), dtype=found[0].meta.dtype, bad=[], shards=shards,
        )  # fmt: skip

    return sorted_runs.put(place, {name: progress.counted(one) for name, one in contents.items()}, meta)


def held_out_alone(found: Sequence[Run], origin: int, folder: Path) -> list[Run]:
    """The runs with the documents of one `origin` held out, and no other. They are few, or nearly all are equal."""
    return [_again(run, origin, folder / run.folder.name) for run in found]


def _again(run: Run, origin: int, folder: Path) -> Run:
    origins = run.column("origin")
    made = Documents(
        run.column("rank"), origins, origins == np.uint64(origin), run.column("length").astype(np.int64),
        run.column("tokens"), run.column("mask") if run.supervised else None,
    )  # fmt: skip
    return sorted_runs.write(folder, made, run.meta.rows, run.meta.last, run.meta.bad)


def _blocks(found: Sequence[Run], name: str, once: bool) -> Iterator[memoryview]:
    """A column of tokens or masks in the merged order."""
    for stretch in stretches(found, once):
        lengths = np.concatenate([part.column("length") for part in stretch.parts]).astype(np.int64)
        data = np.concatenate([part.data(name) for part in stretch.parts])
        starts = np.cumsum(lengths) - lengths
        yield gather(data, starts[stretch.order], lengths[stretch.order]).view(np.uint8).data


def _documents(found: Sequence[Run], name: str, once: bool) -> Iterator[memoryview]:
    """A column of documents in the merged order."""
    for stretch in stretches(found, once):
        yield memoryview(stretch.column(name).tobytes())


def _starts(found: Sequence[Run], once: bool) -> Iterator[memoryview]:
    """Where each document's tokens begin in the merged order, and where the last ones end."""
    before = 0
    yield memoryview(np.zeros(1, dtype="<i8").tobytes())
    for stretch in stretches(found, once):
        ends = before + np.cumsum(stretch.column("length"), dtype="<i8")
        before = int(ends[-1]) if len(ends) else before
        yield memoryview(ends.tobytes())
