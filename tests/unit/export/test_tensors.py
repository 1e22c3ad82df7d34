"""How an export's tensors are divided among files, and in which order they come."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest

from stages.export.tensors import Outgoing, _fill, _natural, divided
from stages.store.tensor_layout import Entry


def tensor(size: int) -> Outgoing:
    """A tensor of so many bytes."""
    return Outgoing(f"of {size}", Entry("BF16", (size // 2,)), Path("result"), 0, "BF16")


@pytest.mark.parametrize(
    ("sizes", "files"),
    [
        ([4, 6, 10, 2], [[4, 6], [10], [2]]),  # a file may be as large as the limit
        ([4, 6, 2], [[4, 6], [2]]),
        ([2, 12, 2], [[2], [12], [2]]),  # what is larger has a file of its own
        ([], []),
    ],
)
def test_a_file_has_as_many_tensors_as_fit_in_order(sizes: list[int], files: list[list[int]]) -> None:
    assert [[one.entry.size for one in part] for part in divided([tensor(size) for size in sizes], 10)] == files


def test_layer_2_comes_before_layer_10() -> None:
    names = ["lm_head", "layers.2.a", "layers.2.b", "layers.10.a"]
    assert sorted(names, key=_natural) == [*names[1:], names[0]]


@pytest.mark.parametrize("most", [1, 3, 100])
def test_a_file_that_gives_few_bytes_at_a_time_is_read_on(most: int) -> None:
    file, data = BytesIO(bytes(range(10))), bytearray(10)
    _fill(lambda view: file.readinto(view[:most]), data, Path("result"))
    assert data == bytes(range(10))
    with pytest.raises(OSError, match="result ends before its last tensor"):
        _fill(lambda view: file.readinto(view[:most]), data, Path("result"))
