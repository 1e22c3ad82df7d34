"""Preparing a corpus of Megatron datasets without copying them: one pass over the tokens, then an order of documents.

Documents are ordered as those of every corpus, by a hash of what they say, here of their tokens; equal ones in the
order of the input. The order is sorted on the disk, so memory does not grow with the number of documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.data.corpus import mmidx
from stages.data.corpus.adopted import AdoptedDataset, AdoptedFile, Adoption
from stages.data.files import inputs
from stages.data.preparing import megatron, sorted_runs
from stages.data.preparing.buckets import Buckets
from stages.data.preparing.megatron import Dataset, Hashed, Scan
from stages.data.preparing.progress import Progress
from stages.data.spec import FOLDER, CorpusSpec
from stages.data.tokens import unknown
from stages.data.tokens.tokenizer import Tokenizer
from stages.data.tokens.unknown import Found
from stages.errors import UserError
from stages.store.digest import Written, measure

# A document: the hash by which it is sorted, the one by which it is held out, its first token in the files, its tokens.
ROW = np.dtype([("rank", "<u8"), ("origin", "<u8"), ("start", "<i8"), ("length", "<i8")])


@dataclass(frozen=True)
class Said:
    """What documents say, whatever their order: how many they are, and the sums of their hashes modulo 2^64."""

    documents: int = 0
    rank: int = 0
    origin: int = 0

    def and_(self, block: Hashed) -> Said:
        """With the documents of a block."""
        rank, origin = (int(one) for one in block.hashes.sum(axis=0, dtype=np.uint64))
        return Said(self.documents + len(block.hashes), (self.rank + rank) % 2**64, (self.origin + origin) % 2**64)


@dataclass(frozen=True)
class Order:
    """The order of a corpus's documents, in buckets on the disk, and the counts. `adoption` is for the manifest."""

    buckets: Buckets
    lowest: int | None  # origin of the one document that is held out, where the hash would hold out none or all
    adoption: Adoption
    documents: int  # before the held-out ones
    size: int  # tokens of these
    heldout: int
    longest: int

    def blocks(self) -> Iterator[memoryview]:
        """order.bin: where each document begins, and its length."""
        for heldout in (False, True):
            for rows in self._sorted(heldout):
                yield memoryview(np.stack([rows["start"], rows["length"]], axis=1).tobytes())

    def length_blocks(self) -> Iterator[NDArray[np.int64]]:
        """Lengths of the training documents in order, in blocks."""
        for rows in self._sorted(heldout=False):
            yield rows["length"].astype(np.int64)

    def _sorted(self, heldout: bool) -> Iterator[NDArray[Any]]:
        for rows in self.buckets.sorted():
            yield rows[_held_out(rows["origin"], self.lowest) == heldout]


def order(root: Path, corpus: CorpusSpec, tokenizer: Tokenizer, folder: Path) -> Order:
    """Check and hash the datasets of a corpus; `folder`, which is emptied first, takes the order. Raises UserError."""
    found = inputs.datasets(root, corpus)
    given = [one for _, *pair in found for one in pair]
    before = inputs.states(given)
    opened = [megatron.opened(*one) for one in found]
    progress = Progress(corpus.corpus, sum(one.size for one in given))
    sorter = _Sorter(folder)
    try:
        read = [_scan(one, tokenizer, sorter, progress, before) for one, before in _before(opened)]
    finally:
        progress.close()
    sorter.buckets.flush()
    inputs.refuse_changed(given, before)
    _refuse_copies([(dataset.prefix, said) for dataset, (_, _, said) in zip(opened, read, strict=True)])
    if sorter.low >= sorter.high:
        raise UserError(
            f"{FOLDER / corpus.corpus}.yaml: prefix: {min(1, sorter.documents)} different documents; allowed: at least "
            "two, since one is held out for evaluations."
        )
    listed = [
        AdoptedDataset(prefix=one.prefix, dtype=mmidx.code(one.header.dtype), bin=_file(data), idx=_file(index))
        for one, (data, index, _) in zip(opened, read, strict=True)
    ]
    empty = sum(max(0, one.header.indices - 1) for one in opened) - sorter.documents
    lost = unknown.of(sorter.unknown, tokenizer, sorter.tokens)
    unknown.refuse(corpus, lost)
    adoption = Adoption(
        root=corpus.root, datasets=listed, empty=empty, begin=sorter.begin, end=sorter.end, unknown=lost
    )
    return _counted(sorter, adoption)


def _before(opened: Sequence[Dataset]) -> Iterator[tuple[Dataset, int]]:
    """Each dataset, and the tokens of those before it."""
    before = 0
    for one in opened:
        yield one, before
        before += one.tokens


def _scan(
    one: Dataset, tokenizer: Tokenizer, sorter: _Sorter, progress: Progress, before: int
) -> tuple[Written, Written, Said]:
    """Size and digest of the two files, and what the dataset's documents say."""
    scan = Scan(one, tokenizer.vocab, tokenizer.roles, progress.add, tokenizer.unknown)
    said = Said()
    for block in scan.documents():
        sorter.add(block, before)
        said = said.and_(block)
    index = measure(one.index.path)
    progress.add(index.size)
    return scan.written, index, said


def _refuse_copies(found: Sequence[tuple[str, Said]]) -> None:
    """Raise UserError where two datasets have the same documents, in whatever order or type of tokens."""
    first: dict[Said, str] = {}
    for prefix, said in found:
        if said.documents and (other := first.setdefault(said, prefix)) != prefix:
            raise UserError(
                f"{prefix}: its {said.documents:,} documents are those of {other}, so that each would be read twice. "
                "Remove one of the two, or name the others one by one, as a list in `prefix`."
            )


def _file(written: Written) -> AdoptedFile:
    return AdoptedFile(size=written.size, blake3=written.blake3)


class _Sorter:
    """Documents on their way to the disk, counted."""

    def __init__(self, folder: Path) -> None:
        self.buckets = Buckets(folder, ROW, "rank")
        self.documents, self.low, self.high, self.begin, self.end = 0, 2**64 - 1, 0, 0, 0
        self.tokens, self.unknown = 0, Found()

    def add(self, block: Hashed, before: int) -> None:
        rows = np.empty(len(block.lengths), dtype=ROW)
        rows["rank"], rows["origin"] = block.hashes[:, 0], block.hashes[:, 1]
        rows["start"], rows["length"] = block.starts + before, block.lengths
        self.low = min(self.low, int(rows["origin"].min(initial=self.low)))
        self.high = max(self.high, int(rows["origin"].max(initial=self.high)))
        self.documents += len(rows)
        self.begin += block.begin
        self.end += block.end
        self.tokens += int(block.lengths.sum())
        self.unknown += block.unknown
        self.buckets.add(rows)


def _held_out(origins: NDArray[np.uint64], lowest: int | None) -> NDArray[np.bool_]:
    return sorted_runs.held_out(origins) if lowest is None else np.asarray(origins == np.uint64(lowest))


def _counted(sorter: _Sorter, adoption: Adoption) -> Order:
    """The order with its counts. Where the hash holds out none or all, the document that comes first by it is."""
    heldout = sum(int(sorted_runs.held_out(rows["origin"]).sum()) for rows in sorter.buckets.sorted())
    lowest = None if 0 < heldout < sorter.documents else sorter.low
    held_out = size = longest = 0
    for rows in sorter.buckets.sorted():
        chosen = _held_out(rows["origin"], lowest)
        held_out += int(chosen.sum())
        size += int(rows["length"][~chosen].sum())
        longest = max(longest, int(rows["length"].max(initial=0)))
    return Order(sorter.buckets, lowest, adoption, sorter.documents - held_out, size, held_out, longest)
