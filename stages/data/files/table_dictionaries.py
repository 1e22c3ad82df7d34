"""Columns of tables that are dictionaries, as pandas and pyarrow write what comes often, as plain ones.

A slice of such a column has the whole dictionary with it: validating each slice would read all of it for every few
rows, and of a dictionary of few long texts as many would be made as there are rows.
"""

from __future__ import annotations

from typing import Any

from stages.data.files.arrow import pyarrow


class Dictionaries:
    """The dictionaries of a file's columns, each validated once."""

    def __init__(self, file: str, most: int) -> None:
        """`file` begins messages; `most` is the bytes that values of a column may have in one batch."""
        self._pa, self._compute = pyarrow(file), pyarrow(file, "pyarrow.compute")
        self._most = most
        self._valid: dict[str, tuple[Any, int]] = {}  # by column: the dictionary, and the bytes of its longest value

    def plain(self, batch: Any) -> Any | None:
        """A batch whose columns are plain; None where that could be more than `most` bytes.

        Raises pyarrow's errors for what is not valid, and IndexError.
        """
        columns = []
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if self._pa.types.is_dictionary(column.type):
                if self._longest(name, column.dictionary) * len(column) > self._most:
                    return None
                column = column.dictionary.take(column.indices)
            columns.append(column)
        return self._pa.RecordBatch.from_arrays(columns, names=batch.schema.names)

    def _longest(self, name: str, dictionary: Any) -> int:
        known = self._valid.get(name)
        if known is None or not _same(known[0], dictionary):
            dictionary.validate(full=True)
            known = self._valid[name] = (dictionary, self._bytes(dictionary))
        return known[1]

    def _bytes(self, dictionary: Any) -> int:
        """Of the longest value of a dictionary; of one of no texts, of all its values."""
        if str(dictionary.type) in ("string", "large_string"):
            return int(self._compute.max(self._compute.binary_length(dictionary)).as_py() or 0)
        return int(dictionary.nbytes)


def _same(one: Any, other: Any) -> bool:
    """Whether two arrays are the same memory."""
    places = ([(part.address, part.size) if part else None for part in array.buffers()] for array in (one, other))
    return len(one) == len(other) and one.offset == other.offset and next(places) == next(places)
