"""A user's own data: the documents of the files that a data spec names, and what is wrong with a row of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stages.data.document import Document
from stages.data.files import inputs, lines, pieces, records, tables
from stages.data.files.pieces import Piece, Row, Rows
from stages.data.files.records import Shape
from stages.data.spec import CorpusSpec
from stages.data.turns import RowError
from stages.errors import UserError, Where
from stages.spec.schema.corpora import shape_of


class BadRowError(UserError):
    """A row of a user's file that cannot be used."""

    def __init__(self, file: str, line: int, why: str, allowed: str) -> None:
        self.where = Where(file, line)
        super().__init__(f"{self.where}: {why}; allowed: {allowed}")


def shape(corpus: CorpusSpec) -> Shape:
    """What the rows of a corpus look like."""
    name = shape_of(corpus.kind, corpus.rows)
    return records.shape(name, corpus.columns or {}, corpus.answers == "separate")


def documents(root: Path, corpus: CorpusSpec) -> Iterator[Document]:
    """The documents of the files in the order of the input, bad rows left out as far as the spec allows.

    Raises as `inputs.find` does, and BadRowError.
    """
    wanted, left = shape(corpus), corpus.bad_rows
    for piece in pieces.cut(inputs.find(root, corpus)):
        for row in rows(piece, wanted):
            try:
                yield records.document(row.raw, wanted)
            except RowError as error:
                left -= 1
                if left < 0:
                    raise bad_row(piece, row.line, error.why, error.allowed) from None


def rows(piece: Piece, wanted: Shape) -> Rows:
    """The raw rows of a piece. Raises UserError where a file of it cannot be read."""
    if not piece.more:
        yield from _of_file(piece, wanted)
        return
    read = 0
    for number in range(1 + len(piece.more)):
        one = piece.of_file(number)
        for row in _of_file(one, wanted):
            yield Row(row.line + number * pieces.FILE, row.raw, read + row.read)
        read += one.size


def _of_file(piece: Piece, wanted: Shape) -> Rows:
    try:
        match piece.file.suffix:
            case ".parquet":
                yield from tables.parquet(piece, wanted)
            case ".arrow":
                yield from tables.arrow(piece, wanted)
            case ".txt":
                yield from lines.paragraphs(piece)
            case ".md":
                yield from lines.whole(piece)
            case _:
                yield from lines.json_lines(piece)
    except OSError as error:
        raise UserError(f"{piece.file.name}: {error.strerror}") from None


def bad_row(piece: Piece, line: int, why: str, allowed: str) -> BadRowError:
    """The error for a row at a line of a piece."""
    return BadRowError(*Places().of(piece, line), why, allowed)


class Places:
    """Where rows are. Of many, in the order of the input, each file is read once to count its lines."""

    def __init__(self) -> None:
        self._piece: Piece | None = None
        self._before = 0

    def of(self, piece: Piece, line: int) -> tuple[str, int]:
        """The file's name, and the line (or row of a table) in it, that has this number in the piece."""
        number, line = divmod(line, pieces.FILE)
        piece = piece.of_file(number)
        if piece != self._piece:
            if piece.file.suffix == ".parquet":
                self._before = tables.rows_before(piece)
            elif self._piece is not None and self._piece.file == piece.file and self._piece.start < piece.start:
                self._before = lines.lines_before(piece, self._piece.start, self._before)
            else:
                self._before = lines.lines_before(piece)
            self._piece = piece
        return piece.file.name, line + self._before


_LEFT = " Those that `without` and `decontaminate` leave out do not count."


def too_few(corpus: CorpusSpec, count: int) -> UserError:
    """The error for fewer than two different documents."""
    what = {"txt": "blank lines between documents", "md": "files of their own"}
    kinds = {name.rpartition(".")[2] for name in corpus.paths}
    hint = what.get(kinds.pop() if len(kinds) == 1 else "", f"one row like {shape(corpus).hint}")
    return UserError(
        f"{', '.join(corpus.paths)}: {count} different documents; allowed: at least two, since one is held out for "
        f"evaluations. Documents are distinguished by {hint}.{_LEFT if corpus.without or corpus.decontaminate else ''}"
    )
