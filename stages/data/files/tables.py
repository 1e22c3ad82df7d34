"""Rows of tables: Parquet, and Arrow files as Hugging Face datasets keeps them. pyarrow reads them, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stages.data.files import other_kinds, table_ends, table_pictures
from stages.data.files.arrow import pyarrow
from stages.data.files.parquet_pages import Page, pages
from stages.data.files.pieces import LONGEST, Broken, Input, Piece, Row, Rows
from stages.data.files.table_dictionaries import Dictionaries
from stages.errors import UserError

if TYPE_CHECKING:
    from stages.data.files.records import Shape

STRINGS, OFFSETS = ("string", "large_string"), 64  # types that have a value's bytes, and bytes besides these
BATCH = 64  # rows that are Python objects at once
INDICES, INDEX = 1 << 16, 4  # rows of which indices are read at once, and the bytes of an index
MEMORY = 64 << 20  # bytes of a batch of Parquet
PAGE = 256 << 20  # bytes of a page of Parquet when it is decompressed; most writers aim at one MiB
NO_OBJECTS = (ValueError, OverflowError)  # what pyarrow raises of values that Python's types do not have
BUFFER = 1 << 20  # bytes of a column that are read at once


def parquet(piece: Piece, wanted: Shape) -> Rows:
    """Rows of the row groups that begin in the piece: the columns of `wanted` that are there.

    Raises UserError for a damaged file, or one without a column that is needed.
    """
    with _damage(piece.file), _parquet(piece.file) as file:
        chosen = _columns(piece.file, file.schema_arrow, wanted)
        if not piece.start:
            table_ends.refuse_joined_parquet(piece.file, file.metadata)
        groups = [number for number, start in enumerate(_starts(file)) if piece.start <= start < piece.end]
        total = max(1, sum(file.metadata.row_group(number).num_rows for number in groups))
        beside = table_pictures.columns(file.schema_arrow.names, chosen) if groups else []
        chosen += (table_pictures.leaf(file.metadata.row_group(groups[0]), name) for name in beside)
        count = _rows_at_once(piece.file, file, groups, chosen)
        batches = file.iter_batches(count, row_groups=groups, columns=chosen, use_threads=False) if groups else ()
        slices = (batch.slice(at, BATCH) for batch in batches for at in range(0, len(batch), BATCH))
        for number, row in enumerate(_rows(piece.file, slices), start=1):
            yield Row(number, row, (piece.end - piece.start) * number // total)


def _rows_at_once(file: Input, opened: Any, groups: Sequence[int], chosen: Sequence[str]) -> int:
    """How many rows are read at once: no more than take about `MEMORY`, by the pages that have the largest values.

    More than `BATCH` of columns that come as dictionaries, since these come with every batch. Raises UserError for a
    page that is too large, since pages are in memory as a whole.
    """
    widest = 0.0  # bytes of a row
    dictionaries = {one.name for one in opened.schema_arrow if str(one.type).startswith("dictionary")} & set(chosen)
    with file.path.open("rb") as raw:
        for group in map(opened.metadata.row_group, groups):
            row = 0.0
            for column in map(group.column, range(group.num_columns)):
                if any(
                    column.path_in_schema == name or column.path_in_schema.startswith(f"{name}.") for name in chosen
                ):
                    values = column.num_values / max(1, group.num_rows)  # of a row: of lists, several
                    largest = max((_bytes_per_value(file, page) for page in pages(raw, column)), default=0.0)
                    row += INDEX if column.path_in_schema in dictionaries else values * largest
            widest = max(widest, row)
    return max(1, min(INDICES if dictionaries else BATCH, int(MEMORY // max(1.0, widest))))


def _bytes_per_value(file: Input, page: Page) -> float:
    """Bytes of a value of a page on average, of a dictionary all, as its longest value may have.

    Raises UserError for a page that is too large.
    """
    if page.size > PAGE:
        raise UserError(
            f"{file.name}: a page of {page.size:,} bytes; allowed: {PAGE:,}, since a page is in memory as a whole. "
            "Leave out values that are so long, or write the file again with fewer values in a page (pyarrow: "
            "`write_batch_size`)."
        )
    return page.size / max(1, page.values)


def rows_before(piece: Piece) -> int:
    """Rows of the Parquet file in row groups before the piece."""
    with _damage(piece.file), _parquet(piece.file) as file:
        starts = enumerate(_starts(file))
        return sum(file.metadata.row_group(number).num_rows for number, start in starts if start < piece.start)


def arrow(piece: Piece, wanted: Shape) -> Rows:
    """Rows of an Arrow file or stream. Raises UserError as `parquet` does."""
    with _arrow(piece.file) as (source, reader, is_file):
        if is_file:
            table_ends.refuse_joined_arrow(piece.file, source)
        chosen = _columns(piece.file, reader.schema, wanted)
        numbers = range(reader.num_record_batches) if is_file else ()
        batches = map(reader.get_batch, numbers) if is_file else table_ends.batches(piece.file, source, reader)
        chosen += table_pictures.columns(reader.schema.names, chosen)
        slices = (batch.select(chosen).slice(at, BATCH) for batch in batches for at in range(0, len(batch), BATCH))
        for number, row in enumerate(_rows(piece.file, slices), start=1):
            yield Row(number, row, piece.end if is_file else source.tell())


def names(file: Input) -> list[str]:
    """The names of all columns. Raises UserError for a damaged file."""
    if file.suffix == ".parquet":
        with _damage(file), _parquet(file) as opened:
            return list(opened.schema_arrow.names)
    with _arrow(file) as (_, reader, _):
        return list(reader.schema.names)


def _rows(file: Input, batches: Any) -> Iterator[dict[str, Any] | Broken]:
    """The rows of batches; one by one where some of them cannot be Python objects, or are long.

    pyarrow compares neither offsets of Arrow files with their buffers nor bytes of strings with UTF-8 by itself.
    """
    pa, dictionaries = pyarrow(file.name), Dictionaries(file.name, MEMORY)
    for whole in batches:
        batch = table_pictures.reduced(whole, file.name)
        try:
            batch.validate()
            plain = dictionaries.plain(batch)
            if plain is not None:
                plain.validate(full=True)
                batch = plain
            short = plain is not None and batch.nbytes <= LONGEST
            rows = batch.to_pylist() if short else None
        except (pa.ArrowInvalid, IndexError, *NO_OBJECTS):
            rows = None
        yield from rows if rows is not None else (_row(batch.slice(at, 1)) for at in range(len(batch)))


def _row(alone: Any) -> dict[str, Any] | Broken:
    """The one row of a batch. Raises pyarrow's errors for a damaged file."""
    alone.validate()
    too_long = Broken(f"a row of more than {LONGEST:,} bytes", "shorter ones, one document each")
    if any(str(one.type) in STRINGS and one.nbytes > LONGEST + OFFSETS for one in alone.columns):
        return too_long  # before it is a Python object too
    try:
        (row,) = alone.to_pylist()
    except UnicodeDecodeError:
        return Broken("not UTF-8", "text in UTF-8")
    except NO_OBJECTS as error:
        return Broken(f"a value that cannot be read ({error})", "text, and what JSON has")
    if _bytes(row) > LONGEST:
        return too_long
    assert isinstance(row, dict)
    return row


def _bytes(value: Any) -> int:
    """Bytes of all texts in a row."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict):
        return sum(map(_bytes, value.values()))
    return sum(map(_bytes, value)) if isinstance(value, list) else 0


@contextmanager
def _arrow(file: Input) -> Iterator[tuple[Any, Any, bool]]:
    """The file, what reads it, and whether it is a file of Arrow's and no stream."""
    pa, ipc = pyarrow(file.name), pyarrow(file.name, "pyarrow.ipc")
    with _damage(file), pa.memory_map(str(file.path)) as source:
        is_file = source.read(len(table_ends.ARROW)) == table_ends.ARROW
        source.seek(0)
        yield source, ipc.open_file(source) if is_file else ipc.open_stream(source), is_file


@contextmanager
def _parquet(file: Input) -> Iterator[Any]:
    """The file; pages that have a checksum, as Spark writes them, are compared with it."""
    of = pyarrow(file.name, "pyarrow.parquet").ParquetFile
    with of(str(file.path), buffer_size=BUFFER, page_checksum_verification=True) as opened:
        yield opened


def _starts(file: Any) -> Iterator[int]:
    """Where each row group begins, in bytes."""
    for number in range(file.metadata.num_row_groups):
        first = file.metadata.row_group(number).column(0)
        yield first.data_page_offset if first.dictionary_page_offset is None else first.dictionary_page_offset


def _columns(file: Input, schema: Any, wanted: Shape) -> list[str]:
    """The columns to read: those of the shape that are there."""
    found = schema.names
    missing = {key: name for key, name in wanted.needed.items() if name not in found}
    if missing:
        other = other_kinds.fitting({field.name: _empty(field.type) for field in schema}, wanted.name)
        raise UserError(
            f"{file.name}: no column {' and '.join(map(repr, missing.values()))}; "
            f"found: {', '.join(map(repr, found))}"
            f"{f', as {other} has them: correct the kind or rows' if other else ''}. Name what is meant with `columns` "
            f"in the corpus's spec, as `columns: {{{', '.join(f'{key}: NAME' for key in missing)}}}`."
        )
    chosen = [name for name in wanted.columns.values() if name in found]
    twice = [name for name in chosen if found.count(name) > 1]
    if twice:
        raise UserError(
            f"{file.name}: {found.count(twice[0])} columns are called {twice[0]!r}; allowed: one. Rename them."
        )
    return chosen


def _empty(kind: Any) -> Any:
    """An empty value of a column's type: for messages, which read no value."""
    if "list" in str(kind).partition("<")[0]:
        return []
    return "" if "string" in str(kind) and not kind.num_fields else None


@contextmanager
def _damage(file: Input) -> Iterator[None]:
    """What pyarrow raises about a file's bytes, as an error that names the file."""
    pa = pyarrow(file.name)
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        first = (str(error).splitlines() or ["cannot be read"])[0]
        raise UserError(f"{file.name}: damaged, or not what its name says ({first}).") from None
