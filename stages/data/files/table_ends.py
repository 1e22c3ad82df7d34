"""Files of tables that were cut off or joined: what readers do not see, since they stop at the first end.

Parquet's and Arrow's files end with a footer, whose offsets count from the beginning of the file: after `cat a b` those
of b point into a, so that rows of a are read and b's are not. An Arrow stream ends with a mark (arrow.apache.org,
Columnar Format, IPC Streaming Format); readers take the end of the file for it, and nothing behind it.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import Any

from stages.data.files.arrow import pyarrow
from stages.data.files.pieces import Input
from stages.errors import UserError

PARQUET = b"PAR1"
ARROW = b"ARROW1"  # begins Arrow's file format; its stream format, which datasets writes, begins otherwise
FOOTER = struct.Struct("<i")  # of Parquet and of Arrow: how long the footer is, before the last magic bytes
STREAM = 8  # an Arrow file has a stream behind its magic bytes and two zeros
SLACK = 64  # bytes to which writers may align a footer; the shortest Arrow file has more


def batches(file: Input, source: Any, reader: Any) -> Iterator[Any]:
    """The batches of an Arrow stream, which `reader` takes from `source`. Raises UserError for one that has no end, or
    for what follows it.
    """
    last = source.tell()
    for batch in reader:
        last = source.tell()
        yield batch
    if (end := source.tell()) == last:
        raise UserError(
            f"{file.name}: cut off behind byte {end:,}: the mark that ends a stream is missing. Copy it again, or "
            "close what wrote it."
        )
    if end < source.size():
        raise _joined(file, end)


def refuse_joined_arrow(file: Input, source: Any) -> None:
    """Raise UserError where the stream inside an Arrow file ends long before its footer. Bodies are not read."""
    pa, ipc = pyarrow(file.name), pyarrow(file.name, "pyarrow.ipc")
    source.seek(STREAM)
    try:
        for _ in ipc.MessageReader.open_stream(source):
            pass
    except pa.ArrowException:
        return  # what is damaged is named by who reads the batches
    end, size = source.tell(), source.size()
    source.seek(size - len(ARROW) - FOOTER.size)
    (footer,) = FOOTER.unpack(source.read(FOOTER.size))
    if size - len(ARROW) - FOOTER.size - footer - end > SLACK:
        raise _joined(file, end)


def refuse_joined_parquet(file: Input, metadata: Any) -> None:
    """Raise UserError where another file ends between the last column of the metadata and their footer."""
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    ends = (_end(group.column(number)) for group in groups for number in range(group.num_columns))
    start = max(ends, default=len(PARQUET))
    with file.path.open("rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
        (footer,) = FOOTER.unpack_from(data, len(data) - len(PARQUET) - FOOTER.size)
        end, at = len(data) - len(PARQUET) - FOOTER.size - footer, start - 1
        while (at := data.find(PARQUET * 2, at + 1, end)) >= 0:
            if _ends_parquet(file, data, at):
                raise _joined(file, at + len(PARQUET))


def _ends_parquet(file: Input, data: mmap.mmap, at: int) -> bool:
    """Whether the magic bytes at a place end a Parquet file; indexes have values, which may have these bytes too."""
    pa, pq = pyarrow(file.name), pyarrow(file.name, "pyarrow.parquet")
    (footer,) = FOOTER.unpack_from(data, at - FOOTER.size)
    begin = at - FOOTER.size - footer
    if not 0 < begin < at:
        return False
    try:
        pq.read_metadata(pa.BufferReader(PARQUET + data[begin : at + len(PARQUET)]))
    except (pa.ArrowException, OSError):
        return False
    return True


def _end(chunk: Any) -> int:
    first = chunk.data_page_offset if chunk.dictionary_page_offset is None else chunk.dictionary_page_offset
    return int(first + chunk.total_compressed_size)


def _joined(file: Input, at: int) -> UserError:
    return UserError(
        f"{file.name}: what follows byte {at:,} would not be read: files that were joined. Name them one by one, as a "
        "list in `path`."
    )
