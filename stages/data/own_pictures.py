"""A corpus of a user's own pictures and captions, in memory that does not grow with the pixels.

The rows are read once, by one process. Grey pixels go to a file on the disk; captions, and 100 bytes a row, stay in
memory until the order is known. The prepared form is that of the shipped corpora with pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from blake3 import blake3

from stages.data import inputs, picture_rows, prepared, spec
from stages.data.chats import RowError
from stages.data.document import HELD_OUT_PER_MILLE, IMAGE, Document, Part, Picture
from stages.data.draws import rank
from stages.data.encode import Encoded, encode
from stages.data.picture_rows import PictureRow
from stages.data.pieces import Input
from stages.data.prepared import Inputs, Skipped
from stages.data.progress import Progress
from stages.data.spec import CorpusSpec
from stages.data.tokenizer import Tokenizer
from stages.data.user import BadRowError
from stages.errors import UserError
from stages.store import files
from stages.store.digest import digest_bytes, measure
from stages.store.files import Data

BATCH = 256  # documents that are encoded at once
PIXELS = "pixels"


@dataclass(frozen=True, order=True)
class _Kept:
    """A row: what its place in the order follows from, its caption, and where its pixels lie."""

    heldout: bool
    rank: int
    origin: int  # of the picture alone: all captions of a picture are held out, or none
    caption: str
    height: int
    width: int
    offset: int


@dataclass(frozen=True)
class Pictures:
    """The rows in order, the held-out ones last; `training` of them come before these. `pixels` is their file."""

    rows: Sequence[_Kept]
    training: int
    pixels: Path
    inputs: Inputs

    def encoded(self, corpus: CorpusSpec, tokenizer: Tokenizer) -> Encoded:
        """All documents, without their pixels. Raises UserError where the tokenizer has no token for a picture."""
        cell = corpus.number("cell") if corpus.kind == "multimodal" else 0
        batches = [self.rows[start : start + BATCH] for start in range(0, len(self.rows), BATCH)]
        found = [encode([_document(row, cell) for row in batch], tokenizer, None) for batch in batches]
        sides = np.array([(row.height, row.width) for row in self.rows], dtype=np.int64)
        sizes = sides.prod(axis=1)
        table = np.column_stack([np.arange(len(sides)), sides, np.cumsum(sizes) - sizes, np.full(len(sides), -1)])
        return Encoded(
            np.concatenate([one.tokens for one in found]), np.concatenate([one.lengths for one in found]),
            np.concatenate([one.supervised for one in found]), np.zeros(0, dtype=np.uint8), table.astype(np.int64),
        )  # fmt: skip

    def contents(self, encoded: Encoded, corpus: CorpusSpec) -> dict[str, Data]:
        """The files of the prepared corpus."""
        return {**prepared.contents(encoded, corpus.kind), "images.bin": self._blocks()}

    def _blocks(self) -> Iterator[memoryview]:
        with self.pixels.open("rb") as file:
            for row in self.rows:
                file.seek(row.offset)
                yield memoryview(file.read(row.height * row.width))


def _document(row: _Kept, cell: int) -> Document:
    """A picture's tokens, one for each cell, and its caption; of pairs (`cell` 0) the caption alone."""
    cells = (row.height // cell) * (row.width // cell) if cell else 0
    return Document(row.caption, (*[Part(IMAGE, False)] * cells, Part(row.caption, True)), row.heldout)


@contextmanager
def read(root: Path, corpus: CorpusSpec, out: Path) -> Iterator[Pictures]:
    """Read the files of a corpus that is to be put at `out`; pixels lie beside it until then.

    Raises UserError where a file is of no use or has too many bad rows, and WriteError.
    """
    folder = out.with_name(f".{out.name}.pixels")
    found = inputs.find(root, corpus)
    stamps = inputs.stamps(found)
    reader = picture_rows.reader(root, corpus)
    try:
        with files.failing(folder):
            files.remove_tree(folder)
            files.make_dirs(folder)
        rows, made = _rows(corpus, reader, found, folder / PIXELS)
        inputs.refuse_changed(found, stamps)
        ordered = sorted(_held_out(corpus, rows))
        yield Pictures(ordered, sum(not row.heldout for row in ordered), folder / PIXELS, made)
    finally:
        files.remove_tree(folder)


def _rows(
    corpus: CorpusSpec, reader: picture_rows.Reader, found: Sequence[Input], pixels: Path
) -> tuple[list[_Kept], Inputs]:
    """The rows in the order of the input, and what they were read from; their pixels go to a file."""
    rows, size = _Rows(corpus, pixels), sum(one.size for one in found)
    progress = Progress(corpus.corpus, size)
    said, before = "", 0
    try:
        for one in found:
            for row in reader.rows(one):
                progress.show(before + row.read)
                rows.add(one.name, row)
            before += one.size
            measured = measure(one.path)
            said += f"{one.name} {measured.size} {measured.blake3}\n"
    finally:
        progress.close()
        rows.close()
    digest = digest_bytes(said.encode())
    made = Inputs(files=len(found), bytes=size, digest=digest, skipped=rows.skipped, duplicates=rows.dropped)
    return rows.kept, made


class _Rows:
    """What is kept of the rows, and what is not; pixels go to a file. Raises BadRowError and WriteError."""

    def __init__(self, corpus: CorpusSpec, pixels: Path) -> None:
        self._corpus, self._pixels = corpus, pixels
        self.kept, self.skipped, self.dropped = list[_Kept](), list[Skipped](), 0
        self._seen, self._at = set[bytes](), 0
        with files.failing(pixels):
            self._file = pixels.open("wb")

    def add(self, file: str, row: PictureRow) -> None:
        """Take a row, or leave it out as far as the spec allows."""
        if isinstance(row.found, RowError):
            if len(self.skipped) == self._corpus.bad_rows:
                raise BadRowError(file, row.line, row.found.why, row.found.allowed)
            self.skipped.append(Skipped(file=file, line=row.line, why=row.found.why))
            return
        kept, identity = _kept(self._corpus.corpus, *row.found, self._at)
        if self._corpus.duplicates == "drop":
            if identity in self._seen:
                self.dropped += 1
                return
            self._seen.add(identity)
        with files.failing(self._pixels):
            self._at += self._file.write(row.found[0].pixels.tobytes())
        self.kept.append(kept)

    def close(self) -> None:
        """All pixels are in the file."""
        with files.failing(self._pixels):
            self._file.close()


def _kept(corpus: str, picture: Picture, caption: str, at: int) -> tuple[_Kept, bytes]:
    """A row and its identity: the pixels as they are kept, and the caption, in whatever file they came."""
    height, width = picture.pixels.shape
    pixels = blake3(picture.pixels.tobytes()).hexdigest()
    origin = f"{height} {width} {pixels}"
    identity = f"{origin} {caption}"
    held = rank("held out", origin)
    made = _Kept(held % 1000 < HELD_OUT_PER_MILLE, rank(corpus, identity), held, caption, height, width, at)
    return made, blake3(identity.encode()).digest(length=16)


def _held_out(corpus: CorpusSpec, rows: list[_Kept]) -> list[_Kept]:
    """The rows, with those of some pictures held out; where the hash would hold out none or all, those of one.

    Raises UserError for fewer than two different pictures.
    """
    origins = {row.origin for row in rows}
    if len(origins) < 2:
        raise UserError(
            f"{', '.join(corpus.paths)}: {len(origins)} different pictures, as they are scaled; allowed: at least two, "
            f"since one is held out for evaluations. See {spec.FOLDER / corpus.corpus}.yaml."
        )
    if 0 < sum(row.heldout for row in rows) < len(rows):
        return rows
    return [replace(row, heldout=row.origin == min(origins)) for row in rows]
