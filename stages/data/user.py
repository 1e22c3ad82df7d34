"""A user's own data: the files that a data spec names, and what is wrong with a row of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stages.data import pieces, records
from stages.data.document import Document
from stages.data.pieces import Input, Piece
from stages.data.records import HINT
from stages.data.spec import FOLDER, CorpusSpec
from stages.errors import UserError, Where


class BadRowError(UserError):
    """A row of a user's file that cannot be used."""

    def __init__(self, file: str, line: int, why: str, allowed: str) -> None:
        self.where = Where(file, line)
        super().__init__(f"{self.where}: {why}; allowed: {allowed}")


def inputs(root: Path, corpus: CorpusSpec) -> list[Input]:
    """The files that a data spec names. Raises UserError where one is missing, outside the project, or of no use."""
    assert corpus.path is not None
    path = _inside(root, corpus)
    if path.suffix != ".jsonl" and corpus.kind == "sft":
        raise UserError(
            f"{corpus.path}: plain text has no answers to supervise; allowed for sft: .jsonl of {HINT['sft']}"
        )
    return [Input(corpus.path, path, path.stat().st_size)]


def documents(root: Path, corpus: CorpusSpec) -> Iterator[Document]:
    """The documents of the files in the order of the input. Raises as `inputs` does, and BadRowError."""
    for piece in pieces.cut(inputs(root, corpus)):
        for row in pieces.rows(piece):
            try:
                yield records.document(row.raw, corpus.kind)
            except records.RowError as error:
                raise bad_row(piece, row.line, error.why, error.allowed) from None


def bad_row(piece: Piece, line: int, why: str, allowed: str) -> BadRowError:
    """The error for a row at a line of a piece."""
    return BadRowError(piece.file.name, pieces.lines_before(piece) + line, why, allowed)


def too_few(corpus: CorpusSpec, found: int) -> UserError:
    """The error for fewer than two different documents."""
    assert corpus.path is not None
    what = "blank lines between documents" if corpus.path.endswith(".txt") else f"one row like {HINT[corpus.kind]}"
    return UserError(
        f"{corpus.path}: {found} different documents; allowed: at least two, since one is held out for "
        f"evaluations. Documents are told apart by {what}."
    )


def _inside(root: Path, corpus: CorpusSpec) -> Path:
    """The file itself, links followed. Raises UserError when it is not a file of the project."""
    at = f"{FOLDER / corpus.corpus}.yaml: path: {corpus.path}"
    try:
        real = (root / str(corpus.path)).resolve(strict=True)
    except (OSError, RuntimeError):
        raise UserError(f"{at}: there is no such file in {root}. Put it there, or correct the path.") from None
    if not real.is_relative_to(root.resolve()):
        raise UserError(f"{at}: a link that leads out of the project, to {real}; copy the file into the project.")
    if not real.is_file():
        raise UserError(f"{at}: not a file; name the file itself.")
    return real
