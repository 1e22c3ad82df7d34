"""Datasets in Megatron-Core's format that were made elsewhere: `<prefix>.idx` checked in full, `<prefix>.bin` streamed.

Nothing of an index is used before it was compared with the size of both files, sequence by sequence: lengths, offsets
and the borders of documents have to follow one another without gaps. The layout is in `mmidx`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from stages.data.corpus import mmidx
from stages.data.corpus.mmidx import Header
from stages.data.files.pieces import Input
from stages.data.tokens.roles import Roles
from stages.data.tokens.unknown import Found
from stages.errors import UserError
from stages.store.digest import Written

ENTRIES = 1 << 20  # of the index, compared at once
DOCUMENTS = 4096  # whose borders are in memory at once
TOKENS = 4 << 20  # read at once
HASH = 16  # bytes of a document's content hash: 8 for its place in the order, 8 for whether it is held out


@dataclass(frozen=True)
class Dataset:
    """One dataset: its prefix as messages name it, its two files, what the index's header says."""

    prefix: str
    data: Input
    index: Input
    header: Header

    @property
    def tokens(self) -> int:
        """How many tokens the data file has."""
        return self.data.size // self.header.dtype.itemsize

    @cached_property
    def lengths(self) -> NDArray[Any]:
        """Tokens per sequence, int32, mapped."""
        return self._column("<i4", self.header.sequences, mmidx.HEADER.size)

    @cached_property
    def pointers(self) -> NDArray[Any]:
        """Where each sequence begins, in bytes, int64, mapped."""
        return self._column("<i8", self.header.sequences, mmidx.HEADER.size + 4 * self.header.sequences)

    @cached_property
    def first_sequences(self) -> NDArray[Any]:
        """The first sequence of each document, then the number of sequences; int64, mapped."""
        return self._column("<i8", self.header.indices, mmidx.HEADER.size + 12 * self.header.sequences)

    def _column(self, kind: str, count: int, offset: int) -> NDArray[Any]:
        if not count:
            return np.zeros(0, dtype=kind)
        return np.memmap(self.index.path, dtype=kind, mode="r", offset=offset, shape=(count,))

    def borders(self) -> Iterator[NDArray[np.int64]]:
        """Where documents begin and end, in tokens: blocks of n + 1 borders of n documents."""
        for first in range(0, self.header.indices - 1, DOCUMENTS):
            sequences = np.asarray(self.first_sequences[first : first + DOCUMENTS + 1])
            found = np.full(len(sequences), self.tokens, dtype=np.int64)
            inside = sequences < self.header.sequences
            found[inside] = self.pointers[sequences[inside]] // self.header.dtype.itemsize
            yield found


@dataclass(frozen=True)
class Hashed:
    """Documents of a dataset: content hashes [n, 2] uint64, first tokens and lengths int64 [n], borders with bos, eos.

    Equal tokens have equal hashes, whatever type they are stored in. `begin` of them begin with the tokenizer's bos,
    `end` end with its eos; `unknown` is what its unknown token is.
    """

    hashes: NDArray[np.uint64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    begin: int
    end: int
    unknown: Found


def opened(prefix: str, data: Input, index: Input) -> Dataset:
    """A dataset whose index says what its two files contain. Raises UserError."""
    with index.path.open("rb") as file:
        header = mmidx.header(file.read(mmidx.HEADER.size), index.size, index.name)
    found = Dataset(prefix, data, index, header)
    _check_sequences(found)
    _check_documents(found)
    return found


def _check_sequences(found: Dataset) -> None:
    before, size = 0, found.header.dtype.itemsize
    for first in range(0, found.header.sequences, ENTRIES):
        lengths = np.asarray(found.lengths[first : first + ENTRIES], dtype=np.int64)
        if (negative := np.flatnonzero(lengths < 0)).size:
            at = int(negative[0])
            raise UserError(f"{found.index.name}: sequence {first + at} has {lengths[at]} tokens; the index is damaged")
        ends = before + np.cumsum(lengths)
        pointers = np.asarray(found.pointers[first : first + ENTRIES])
        wanted = (ends - lengths) * size
        if (wrong := np.flatnonzero(pointers != wanted)).size:
            at = int(wrong[0])
            raise UserError(
                f"{found.index.name}: sequence {first + at} begins at byte {pointers[at]}, the one before it ends at "
                f"{wanted[at]}; allowed: sequences one after the other, as Megatron's preprocess_data writes them"
            )
        before = int(ends[-1])
    if before * size != found.data.size:
        raise UserError(
            f"{found.data.name}: {found.data.size} bytes, the index asks for {before * size} ({before} tokens of "
            f"{size} bytes); the two files do not belong together, or one was cut off"
        )


def _check_documents(found: Dataset) -> None:
    what = f"{found.index.name}: the borders of documents"
    if not found.header.indices:
        raise UserError(f"{what} are missing; allowed: at least the number of sequences")
    first, last = int(found.first_sequences[0]), int(found.first_sequences[-1])
    if (first, last) != (0, found.header.sequences):
        raise UserError(
            f"{what} reach from sequence {first} to {last}; allowed: from 0 to {found.header.sequences}, all that "
            "there are"
        )
    for at in range(0, found.header.indices, ENTRIES):
        steps = np.diff(found.first_sequences[at : at + ENTRIES + 1])
        if (back := np.flatnonzero(steps < 0)).size:
            raise UserError(f"{what} go back after document {at + int(back[0])}; the index is damaged")


class Scan:
    """One pass over a data file: every id is checked, every document and the file as a whole are hashed."""

    def __init__(
        self, found: Dataset, vocab: int, roles: Roles, report: Callable[[int], None], unknown: int | None = None
    ) -> None:
        self.found, self.vocab, self.roles, self.report, self.unknown = found, vocab, roles, report, unknown
        self._hasher, self._size = blake3(), 0

    def documents(self) -> Iterator[Hashed]:
        """The documents in the order of the file, block by block. Raises UserError for ids that cannot be."""
        with self.found.data.path.open("rb", buffering=0) as file:
            for number, borders in enumerate(self.found.borders()):
                yield self._block(file, number * DOCUMENTS, borders)

    @property
    def written(self) -> Written:
        """Size and digest of what was read."""
        return Written(self._size, str(self._hasher.hexdigest()))

    def _block(self, file: Any, first: int, borders: NDArray[np.int64]) -> Hashed:
        hashes, part = bytearray(), blake3()
        begin = end = 0
        unknown = [np.zeros(0, dtype=np.int64)]  # the document of each token
        lengths = np.diff(borders)
        begins, ends = borders[:-1][lengths > 0], borders[1:][lengths > 0]
        for at in range(int(borders[0]), int(borders[-1]), TOKENS):
            ids = self._read(file, min(TOKENS, int(borders[-1]) - at))
            last = at + len(ids)
            self._check(ids, at, first, borders)
            begin += _count(ids, begins[(begins >= at) & (begins < last)] - at, self.roles.bos)
            end += _count(ids, ends[(ends > at) & (ends <= last)] - 1 - at, self.roles.eos)
            if self.unknown is not None:
                unknown.append(np.searchsorted(ends, np.flatnonzero(ids == self.unknown) + at, side="right"))
            raw = memoryview(ids.astype("<u4").tobytes())
            low, high = int(np.searchsorted(ends, at, side="right")), int(np.searchsorted(begins, last))
            for start, stop in zip(begins[low:high].tolist(), ends[low:high].tolist(), strict=True):
                part.update(raw[4 * (max(start, at) - at) : 4 * (min(stop, last) - at)])
                if stop <= last:
                    hashes += part.digest(length=HASH)
                    part = blake3()
        lost = np.concatenate(unknown)
        found = Found(len(lost), len(np.unique(lost)))
        return Hashed(
            np.frombuffer(bytes(hashes), dtype="<u8").reshape(-1, 2), begins, ends - begins, begin, end, found
        )

    def _read(self, file: Any, count: int) -> NDArray[Any]:
        wanted, parts = count * self.found.header.dtype.itemsize, []
        while wanted and (data := file.read(wanted)):
            parts.append(data)
            wanted -= len(data)
        raw = b"".join(parts)
        if wanted:
            raise UserError(f"{self.found.data.name}: became shorter while it was read")
        self._hasher.update(raw)
        self._size += len(raw)
        self.report(len(raw))
        return np.frombuffer(raw, dtype=self.found.header.dtype)

    def _check(self, ids: NDArray[Any], at: int, first: int, borders: NDArray[np.int64]) -> None:
        """Raise UserError for the first id that is none of the tokenizer's, or that no text comes to."""
        if int(ids.max()) >= self.vocab or int(ids.min()) < 0:
            place = int(np.flatnonzero((ids >= self.vocab) | (ids < 0))[0])
            why = f"the tokenizer has ids from 0 to {self.vocab - 1}: another one made this dataset"
            raise self._wrong(ids, place, at, first, borders, why)
        if self.roles.image is not None and (found := np.flatnonzero(ids == self.roles.image)).size:
            why = "the tokenizer's token of a picture, and there are no pictures"
            raise self._wrong(ids, int(found[0]), at, first, borders, why)
        if self.roles.bos is not None:
            inside = np.setdiff1d(np.flatnonzero(ids == self.roles.bos) + at, borders[:-1])
            if inside.size:
                why = "the tokenizer's bos, allowed as the first token of a document alone"
                raise self._wrong(ids, int(inside[0]) - at, at, first, borders, why)

    def _wrong(
        self, ids: NDArray[Any], place: int, at: int, first: int, borders: NDArray[np.int64], why: str
    ) -> UserError:
        document = int(np.searchsorted(borders, at + place, side="right")) - 1
        return UserError(
            f"{self.found.data.name}: token {at + place - borders[document]} of document {first + document} is "
            f"{ids[place]}; {why}"
        )


def _count(ids: NDArray[Any], places: NDArray[np.int64], role: int | None) -> int:
    return 0 if role is None else int(np.count_nonzero(ids[places] == role))
