"""Single entries of a table's rows, by one index into all of the table.

On a GPU whose algorithms are to be deterministic, torch's scatter along a dimension of several, and the gradient of its
gather, first copy the table's strides from the host, which then waits (_scatter_via_index_put in
TensorAdvancedIndexing.cpp). Along the only dimension of a flat table they do not.
"""

from __future__ import annotations

import torch
from torch import Tensor


def entries(table: Tensor, columns: Tensor) -> Tensor:
    """table [n, w] at columns int64 [n, k] of each row: [n, k], differentiated by the table."""
    return table.flatten().index_select(0, _flat(columns, table.shape[1])).view(columns.shape)


def subtract_entries(table: Tensor, columns: Tensor, values: Tensor) -> Tensor:
    """Subtract values [n, k] from table [n, w], contiguous, at columns int64 [n, k], in place; return the table.

    A row's columns differ, so no entry is a sum of several.
    """
    table.view(-1).index_add_(0, _flat(columns, table.shape[1]), -values.flatten())
    return table


def replace_entries(table: Tensor, columns: Tensor, values: Tensor) -> None:
    """Put values [n, k], rounded to the table's precision, at columns int64 [n, k] of table [n, w], in place.

    A row's columns differ, so no entry is written twice.
    """
    table.view(-1).index_copy_(0, _flat(columns, table.shape[1]), values.flatten().to(table.dtype))


def _flat(columns: Tensor, width: int) -> Tensor:
    first = torch.arange(len(columns), device=columns.device)[:, None] * width
    return (first + columns).flatten()
