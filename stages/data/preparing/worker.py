"""What one process does of a preparation: the documents of a piece, encoded and written as sorted runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice, repeat
from pathlib import Path

from stages.data.files import records, user
from stages.data.files.pieces import Piece, Raw
from stages.data.files.records import Shape
from stages.data.preparing import sorted_runs
from stages.data.preparing.batches import Batch, Row, encode_batch, refuse_unwritten
from stages.data.preparing.overlap import Left, Others
from stages.data.preparing.sorted_runs import Bad, Encoding, Run
from stages.data.tokens import unknown
from stages.data.tokens.tokenizer import Source, Tokenizer
from stages.data.turns import RowError
from stages.spec.schema.corpora import MASKED

CHARACTERS = 1 << 19  # given to the tokenizer at once, which bounds the memory that its answers take
ROWS = 2048
TOKENS = 16 << 20  # of one run, which is in memory until it is written
DOCUMENT = 16  # tokens that take the memory of what is kept of a document besides its own
Report = Callable[[int, int], None]  # is given how many bytes were done since the last call, and by an earlier run


@dataclass(frozen=True)
class Job:
    """What all pieces of a preparation have in common: `folder` is for runs, `allowed` how many rows may be bad.

    Documents that the `others` have are left out.
    """

    corpus: str
    kind: str
    shape: Shape
    tokenizer: Source
    folder: Path
    allowed: int
    others: Others | None


def encode_piece(job: Job, number: int, piece: Piece, tokenizer: Tokenizer, report: Report) -> list[Run]:
    """The runs of piece `number`: those that an earlier preparation finished, which are read in full, and the rest.

    It ends early with the first bad row that is not allowed. Raises UserError where the file cannot be read, and
    WriteError.
    """
    return _PieceEncoder(job, number, piece, tokenizer, report).all()


class _PieceEncoder:
    def __init__(self, job: Job, number: int, piece: Piece, tokenizer: Tokenizer, report: Report) -> None:
        self.job, self.number, self.piece, self.tokenizer, self.report = job, number, piece, tokenizer, report
        self.runs = list(self._finished())
        self.read = self.runs[-1].meta.rows if self.runs else 0
        self.bad = sum(len(run.meta.bad) for run in self.runs)
        self._rows = islice(user.rows(piece, job.shape), self.read, None)
        self._read = self._text if job.shape.name == records.TEXT else self._documents
        self._bytes = 0
        self._skipping = self.read > 0
        self._comparison = None if job.others is None else job.others.open()
        self._left: Left = {}

    def all(self) -> list[Run]:
        if self.runs and self.runs[-1].meta.last:
            self.report(self.piece.size, self.piece.size)
        while not (self.runs and self.runs[-1].meta.last) and self.bad <= self.job.allowed:
            self.runs.append(self._run())
        return self.runs

    def _finished(self) -> Iterator[Run]:
        for run in count():
            found = sorted_runs.read(self._folder(run))
            if found is None or (found.meta.unknown is None and self.tokenizer.unknown is not None):
                return
            yield found

    def _folder(self, run: int) -> Path:
        return self.job.folder / f"{self.number:06d}-{run:04d}"

    def _run(self) -> Run:
        made, bad, last = Encoding(), list[Bad](), False
        self._left = {}
        while made.size < TOKENS and not last and self.bad <= self.job.allowed:
            batch, last = self._batch(bad)
            self._add(made, batch, bad)
        bad.sort(key=lambda one: one.line)
        documents = made.documents(self.job.kind in MASKED, self.tokenizer.dtype.str)
        folder = self._folder(len(self.runs))
        return sorted_runs.write(folder, documents, self.read, last, bad, self._left, made.separate, made.unknown)

    def _batch(self, bad: list[Bad]) -> tuple[Batch, bool]:
        """Rows for one call of the tokenizer, and whether the piece ends with them."""
        lines, rows = list[int](), list[Row]()
        read, characters = self._read, 0
        for line, raw, at in self._rows:
            self.read += 1
            if self._skipping:  # what is before this row is in runs of an earlier preparation
                self.report(at, at)
                self._bytes, self._skipping = at, False
            try:
                found, size = read(raw)
            except RowError as error:
                bad.append(Bad(line=line, why=error.why, allowed=error.allowed))
                self.bad += 1
            else:
                lines.extend(repeat(line, len(found)))
                rows.extend(found)
                characters += size
            if characters >= CHARACTERS or len(rows) >= ROWS or self.bad > self.job.allowed:
                self.report(at - self._bytes, 0)
                self._bytes = at
                return Batch(lines, rows), False
        self.report(self.piece.size - self._bytes, 0)
        return Batch(lines, rows), True

    def _text(self, raw: Raw) -> tuple[Sequence[Row], int]:
        text = records.text(raw, self.job.shape)
        return (text,), len(text)

    def _documents(self, raw: Raw) -> tuple[Sequence[Row], int]:
        made = records.documents(raw, self.job.shape)
        for side in (side for one in made for side in one.sides):
            refuse_unwritten(side, self.tokenizer)
        return made, sum(len(one.identity) for one in made)

    def _add(self, made: Encoding, batch: Batch, bad: list[Bad]) -> None:
        """Encode rows; those that the tokenizer's chat template cannot write are bad."""
        batch, encoded, refused = encode_batch(batch, self.tokenizer)
        for line, error in refused.items():
            bad.append(Bad(line=line, why=str(error), allowed="what the chat template can write"))
        self.bad += len(refused)
        if self._comparison is not None:
            kept = self._comparison.kept(batch.documents(), encoded.lengths, self._left)
            batch, encoded = batch.only(kept.tolist()), encoded.only(kept)
        made.unknown += unknown.count(encoded, self.tokenizer.unknown, batch.lines)
        if self.job.shape.separate:
            made.count_separate(batch.lines, encoded.lengths)
        order, heldout = batch.hashes(self.job.corpus)
        made.ranks.append(order)
        made.origins.append(heldout)
        made.lengths.append(encoded.lengths)
        made.tokens.append(encoded.tokens)
        made.masks.append(encoded.supervised)
        made.size += len(encoded.tokens) + DOCUMENT * len(encoded.lengths)
