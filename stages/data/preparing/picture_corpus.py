"""A corpus of a user's own pictures, with captions, texts or chats, in memory that does not grow with the pixels.

The rows are read once, by one process. Pixels go to a file on the disk; tokens, and some hundred bytes a row, stay in
memory until the order is known. The prepared form is that of the shipped corpora with pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.data import spec
from stages.data.corpus import prepared
from stages.data.corpus.corpus_manifest import Inputs, Skipped
from stages.data.document import HELD_OUT_PER_MILLE, IMAGE, SPECIAL, Document
from stages.data.draws import rank
from stages.data.files import inputs, picture_rows
from stages.data.files.picture_rows import Found, PictureRow
from stages.data.files.pieces import Input
from stages.data.files.user import BadRowError
from stages.data.preparing.batches import refuse_unwritten
from stages.data.preparing.picture_documents import document, identity, origin, origins
from stages.data.preparing.progress import Progress
from stages.data.spec import CorpusSpec
from stages.data.tokens import unknown
from stages.data.tokens.encode import Encoded, encode_accepted
from stages.data.tokens.template import TemplateError
from stages.data.tokens.tokenizer import Tokenizer
from stages.data.turns import RowError
from stages.errors import UserError
from stages.store import files, trees
from stages.store.digest import digest_bytes, measure
from stages.store.files import Data

PIXELS = "pixels"


@dataclass(frozen=True)
class _Kept:
    """A row: what its place in the order follows from, its tokens, and where its pictures' pixels are in the file."""

    heldout: bool
    rank: int
    origin: int  # of its pictures alone: everything about a picture is held out, or none
    offset: int
    sides: tuple[tuple[int, int], ...]
    tokens: NDArray[Any]
    mask: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Pictures:
    """The rows in order, the held-out ones last; `training` of them come before these. `pixels` is their file."""

    rows: Sequence[_Kept]
    training: int
    pixels: Path
    bands: int
    inputs: Inputs

    @property
    def masked(self) -> bool:
        """Whether only a part of the text is learned: the answers of chats."""
        return self.rows[0].mask is not None

    def encoded(self) -> Encoded:
        """All documents, without their pixels."""
        table = np.array(
            [(number, *sides, 0, -1) for number, row in enumerate(self.rows) for sides in row.sides], dtype=np.int64
        ).reshape(-1, 5)
        sizes = table[:, 1:3].prod(axis=1) * self.bands
        table[:, 3] = np.cumsum(sizes) - sizes
        masks = [row.mask for row in self.rows if row.mask is not None]
        return Encoded(
            np.concatenate([row.tokens for row in self.rows]),
            np.array([len(row.tokens) for row in self.rows], dtype=np.int64),
            np.concatenate([np.zeros(0, dtype=np.uint8), *masks]), np.zeros(0, dtype=np.uint8), table,
        )  # fmt: skip

    def contents(self, encoded: Encoded, corpus: CorpusSpec) -> dict[str, Data]:
        """The files of the prepared corpus."""
        return {**prepared.contents(encoded, corpus.kind, self.masked), "images.bin": self._blocks()}

    def _blocks(self) -> Iterator[memoryview]:
        with self.pixels.open("rb") as file:
            for row in self.rows:
                file.seek(row.offset)
                for height, width in row.sides:
                    yield memoryview(file.read(height * width * self.bands))


@contextmanager
def read(root: Path, corpus: CorpusSpec, out: Path, tokenizer: Tokenizer) -> Iterator[Pictures]:
    """Read the files of a corpus that is to be put at `out`; pixels are next to it until then.

    Raises UserError where a file is of no use or has too many bad rows, or the tokenizer has no token for a picture,
    and WriteError.
    """
    folder = out.with_name(f".{out.name}.pixels")
    if corpus.kind == "multimodal" and tokenizer.roles.image is None:
        raise UserError(
            f"{spec.FOLDER / corpus.corpus}.yaml: pictures need a token {SPECIAL[IMAGE]}, and the tokenizer's spec "
            "names none: roles.image"
        )
    found = inputs.find(root, corpus)
    before = inputs.states(found)
    reader = picture_rows.reader(root, corpus)
    try:
        trees.make_empty(folder)
        rows, made = _rows(reader, found, _Rows(corpus, tokenizer, folder / PIXELS))
        inputs.refuse_changed(found, before)
        ordered = sorted(_held_out(corpus, rows), key=lambda row: (row.heldout, row.rank, row.offset))
        training = sum(not row.heldout for row in ordered)
        yield Pictures(ordered, training, folder / PIXELS, corpus.bands, made)
    finally:
        trees.remove_tree(folder)


def _rows(reader: picture_rows.Reader, found: Sequence[Input], rows: _Rows) -> tuple[list[_Kept], Inputs]:
    """The rows in the order of the input, and what they were read from; their pixels go to a file."""
    size = sum(one.size for one in found)
    progress = Progress(rows.corpus.corpus, size)
    contents, before = dict[str, str](), 0
    try:
        for one in found:
            for row in reader.rows(one):
                progress.show(before + row.read)
                rows.add(one.name, row)
            before += one.size
            measured = measure(one.path)
            contents[one.name] = f"{measured.size} {measured.blake3}"
    finally:
        progress.close()
        rows.close()
    inputs.refuse_copies(rows.corpus, contents)
    digest = digest_bytes("".join(f"{name} {content}\n" for name, content in contents.items()).encode())
    made = Inputs(files=len(found), bytes=size, digest=digest, skipped=rows.skipped, duplicates=rows.dropped)
    made = made.model_copy(update={"unknown": rows.lost()})
    unknown.refuse(rows.corpus, made.unknown)
    return rows.kept, made


class _Rows:
    """What is kept of the rows, and what is not; pixels go to a file. Raises BadRowError and WriteError."""

    def __init__(self, corpus: CorpusSpec, tokenizer: Tokenizer, pixels: Path) -> None:
        self.corpus, self._tokenizer, self._pixels = corpus, tokenizer, pixels
        self._cell = corpus.number("cell") if corpus.kind == "multimodal" else 0
        self.kept, self.skipped, self.dropped = list[_Kept](), list[Skipped](), 0
        self._seen, self._at = set[bytes](), 0
        self._unknown, self._first, self._tokens = unknown.Found(), "", 0
        with files.failing(pixels):
            self._file = pixels.open("wb")

    def add(self, file: str, row: PictureRow) -> None:
        """Take a row, or leave it out as far as the spec allows."""
        try:
            if isinstance(row.found, RowError):
                raise row.found
            kept, known, lost = self._kept(row.found)
        except RowError as error:
            if len(self.skipped) == self.corpus.bad_rows:
                raise BadRowError(file, row.line, error.why, error.allowed) from None
            self.skipped.append(Skipped(file=file, line=row.line, why=error.why))
            return
        self._tokens += len(kept.tokens)
        self._unknown += lost
        self._first = self._first or (f"{file}:{row.line}" if lost.tokens else "")
        if self.corpus.duplicates == "drop":
            if known in self._seen:
                self.dropped += 1
                return
            self._seen.add(known)
        with files.failing(self._pixels):
            for picture in row.found.pictures:
                self._at += self._file.write(picture.tobytes())
        self.kept.append(kept)

    def lost(self) -> unknown.Unknown | None:
        """What the tokenizer has no token for."""
        return unknown.of(self._unknown, self._tokenizer, self._tokens, self._first)

    def close(self) -> None:
        """All pixels are in the file."""
        with files.failing(self._pixels):
            self._file.close()

    def _kept(self, found: Found) -> tuple[_Kept, bytes, unknown.Found]:
        """A row, a hash of its identity (pixels as they are kept, and their text, in whatever file they came), and
        what of it is unknown to the tokenizer.
        """
        each = origins(found)
        known = identity(found, each)
        hashed = rank("held out", origin(each, known))
        encoded, mask = self._encoded(document(found, known, self._cell))
        made = _Kept(
            hashed % 1000 < HELD_OUT_PER_MILLE, rank(self.corpus.corpus, known), hashed, self._at,
            tuple((one.shape[0], one.shape[1]) for one in found.pictures), encoded.tokens, mask,
        )  # fmt: skip
        lost = unknown.count(encoded, self._tokenizer.unknown, [1])
        return made, bytes.fromhex(digest_bytes(known.encode()))[:16], lost

    def _encoded(self, made: Document) -> tuple[Encoded, NDArray[np.uint8] | None]:
        """Tokens, and of a chat which of them may be learned. Raises RowError."""
        refuse_unwritten(made, self._tokenizer)
        encoded, refused = encode_accepted([made], self._tokenizer, self._cell or None)
        for error in refused.values():
            assert isinstance(error, TemplateError)
            raise RowError(str(error), "what the chat template can write")
        return encoded, None if made.conversation is None else encoded.supervised


def _held_out(corpus: CorpusSpec, rows: list[_Kept]) -> list[_Kept]:
    """The rows, with those of some pictures held out; where the hash would hold out none or all, those of one.

    Raises UserError for fewer than two different pictures.
    """
    found = {row.origin for row in rows}
    if len(found) < 2:
        raise UserError(
            f"{', '.join(corpus.paths)}: {len(found)} different pictures, as they are scaled; allowed: at least two, "
            f"since one is held out for evaluations. See {spec.FOLDER / corpus.corpus}.yaml."
        )
    if 0 < sum(row.heldout for row in rows) < len(rows):
        return rows
    first = min(found)
    return [replace(row, heldout=row.origin == first) for row in rows]
