"""Whether a row of a table has pictures, which kinds of text do not read: of the pictures themselves nothing is kept.

A row whose text has `<image>` is refused where it does (`chats.refuse_lost_pictures`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from stages.data.files.arrow import pyarrow
from stages.data.tokens.chats import PICTURES


def columns(names: Sequence[str], chosen: Collection[str]) -> list[str]:
    """The columns of pictures among a table's, which are not read for something else."""
    return [name for name in PICTURES if names.count(name) == 1 and name not in chosen]


def leaf(group: Any, name: str) -> str:
    """The smallest part of a column of Parquet that says which rows have a value, as a path."""
    parts = [group.column(number) for number in range(group.num_columns)]
    of = [one for one in parts if one.path_in_schema == name or one.path_in_schema.startswith(f"{name}.")]
    smallest = min(of, key=lambda one: one.total_uncompressed_size)
    return str(smallest.path_in_schema)


def reduced(batch: Any, file: str) -> Any:
    """A batch whose columns of pictures say how many a row has, or of how many bytes, instead of having them."""
    pa = pyarrow(file)
    for name in PICTURES:
        place = batch.schema.get_field_index(name)
        if place >= 0:
            batch = batch.set_column(place, name, _there(pa, pyarrow(file, "pyarrow.compute"), batch.column(place)))
    return batch


def _there(pa: Any, compute: Any, column: Any) -> Any:
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return compute.list_value_length(column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        return compute.binary_length(column)
    return column.is_valid()
