"""Columns that a user's rows have and their corpus does not read: a system's turn or a picture may be among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from stages.data.files import inputs, lines, pieces, records, tables, user
from stages.data.files.pieces import Input
from stages.data.spec import CorpusSpec
from stages.data.turns import RowError
from stages.printable import first_few, printable

ROWS = 100  # of a file of lines, whose rows may differ
MOST = 40  # names in a message


def said(root: Path, corpus: CorpusSpec) -> str:
    """A sentence about them, as the first file has them; empty where there are none."""
    found = inputs.find(root, corpus)[:1] if corpus.builder == "file" else []
    read = set(user.shape(corpus).columns.values())
    names = [printable(repr(name)) for one in found for name in dict.fromkeys(_columns(one)) if name not in read]
    return f"columns of {found[0].name} that are not read: {first_few(names, MOST)}" if names else ""


def _columns(file: Input) -> Iterable[str]:
    if file.suffix in (".parquet", ".arrow"):
        return tables.names(file)
    return () if file.suffix in (".txt", ".md") else _keys(file)


def _keys(file: Input) -> Iterator[str]:
    for row in islice(lines.json_lines(pieces.Piece(file, 0, file.size)), ROWS):
        if isinstance(row.raw, bytes):
            try:
                yield from records.parsed(row.raw)
            except RowError:
                continue
