"""A tensor file has the library's bytes, is written in blocks from the tensors' own memory, and needs little more."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from stages.models import tensor_file
from stages.models.tensor_file import Stored
from stages.store import files, tensor_layout
from stages.store.digest import BLOCK, digest_bytes
from stages.store.disk import Disk
from stages.store.tensor_layout import Entry

SHAPES = st.lists(st.integers(0, 5), max_size=4)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def of(dtype: torch.dtype, shape: list[int], seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 100, shape, generator=draw).to(dtype)


def joined(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    return b"".join(tensor_file.blocks(tensors, metadata=metadata))


@given(
    st.dictionaries(NAMES, st.tuples(st.sampled_from(list(tensor_file.DTYPES)), SHAPES), max_size=8),
    st.sampled_from([None, {"format": "pt"}]),
)
def test_the_bytes_are_the_librarys(
    drawn: dict[str, tuple[torch.dtype, list[int]]], metadata: dict[str, str] | None
) -> None:
    tensors = {name: of(dtype, shape, seed) for seed, (name, (dtype, shape)) in enumerate(drawn.items())}
    assert joined(tensors, metadata) == to_bytes(tensors, metadata)


def test_types_are_in_the_librarys_order_each_aligned() -> None:
    tensors = {str(seed): of(dtype, [3], seed) for seed, dtype in enumerate(tensor_file.DTYPES)}
    assert joined(tensors) == to_bytes(tensors)
    assert set(tensor_file.DTYPES.values()) == set(tensor_layout.WIDTHS)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda t: t.mT,
    "every other row": lambda t: t[::2],
    "every other column": lambda t: t[:, 1::2],
    "one row given to all": lambda t: t[:1].expand(7, -1),
    "a row of a stack": lambda t: t[3],
    "channels last": lambda t: t.view(1, 4, 2, -1).to(memory_format=torch.channels_last),
    "a parameter": lambda t: torch.nn.Parameter(t) if t.is_floating_point() else t,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_a_tensor_with_gaps_is_written_row_by_row(layout: str, dtype: torch.dtype) -> None:
    tensor = LAYOUTS[layout](of(dtype, [8, 6], 1))
    assert joined({"w": tensor}) == to_bytes({"w": tensor.detach().contiguous()})


def test_tensors_longer_and_shorter_than_a_block_arrive_whole_with_their_digest(tmp_path: Path) -> None:
    sizes = [0, 1, tensor_file.JOINED - 1, tensor_file.JOINED, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5, 3, 7]
    tensors = {f"{i}": of(torch.uint8, [size], i) for i, size in enumerate(sizes)}
    written = files.write(tmp_path / "w", tensor_file.blocks(tensors))
    whole = to_bytes(tensors)
    assert (tmp_path / "w").read_bytes() == whole
    assert written == files.Written(len(whole), digest_bytes(whole))


def test_a_thousand_small_tensors_are_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(Disk):
        writes = 0

        def write(self, handle: int, data: memoryview) -> int:
            self.writes += 1
            return super().write(handle, data)

    disk = Counting()
    monkeypatch.setattr(files, "disk", disk)
    files.write(tmp_path / "w", tensor_file.blocks({f"{i:04}": of(torch.float32, [10], i) for i in range(1000)}))
    assert disk.writes == 1
    assert len(load_file(tmp_path / "w")) == 1000


def test_a_large_tensor_is_written_from_its_own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python and numpy allocate meanwhile is less than a block, where the file has many."""
    tensors = {name: torch.full((3 * BLOCK // 4,), 1.5) for name in "abcd"}
    files.write(tmp_path / "warm", tensor_file.blocks({"a": torch.zeros(1)}))
    tracemalloc.start()
    files.write(tmp_path / "w", tensor_file.blocks(tensors))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < tensor_file.JOINED
    (a, *_), start = tensors.values(), tensors["a"].data_ptr()
    pieces = list(tensor_file.blocks({"a": a}))[1:]
    assert [torch.frombuffer(piece, dtype=torch.uint8).data_ptr() - start for piece in pieces] == [0, BLOCK, 2 * BLOCK]


def test_each_tensor_is_asked_for_when_the_one_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So tensors that other ranks have need not all be here at once."""
    written: list[int] = []

    class Counting(Disk):
        def write(self, handle: int, data: memoryview) -> int:
            written.append(len(data))
            return super().write(handle, data)

    disk = Counting()
    monkeypatch.setattr(files, "disk", disk)
    whole = {name: of(torch.uint8, [BLOCK], 1) for name in "ab"} | {"n": torch.tensor(5)}
    like = {name: torch.empty_like(tensor, device="meta") for name, tensor in whole.items()}
    before: list[int] = []

    def gathered() -> Iterator[tuple[str, Tensor]]:
        for name in tensor_file.order(like):
            before.append(sum(written) // BLOCK)
            yield name, whole[name]

    files.write(tmp_path / "w", tensor_file.blocks(like, gathered()))
    assert before == [0, 0, 1]
    assert (tmp_path / "w").read_bytes() == to_bytes(whole)


@pytest.mark.parametrize("wrong", ["name", "shape", "type", "missing", "too many"])
def test_what_is_not_as_announced_is_an_error_and_leaves_no_file(wrong: str, tmp_path: Path) -> None:
    a, b, c = ("a", torch.zeros(2)), ("b", torch.zeros(3)), ("c", torch.zeros(3))
    like, said = dict([a, b]), r"the next tensor of this file is b Entry\(dtype='F32', shape=\(3,\)\), found"
    match wrong:
        case "name":
            given = [a, c]
        case "shape":
            given = [a, ("b", torch.zeros(4))]
        case "type":
            given = [a, ("b", torch.zeros(3).double())]
        case "missing":
            given = [a]
        case _:
            given, said = [a, b, c], "this file has no tensor c"
    with pytest.raises(ValueError, match=said):
        files.write(tmp_path / "w", tensor_file.blocks(like, given))
    with pytest.raises(ValueError, match=said):
        files.write_atomic(tmp_path / "w", tensor_file.blocks(like, given))
    assert not list(tmp_path.iterdir())


def resident(path: Path) -> int:
    """Bytes of a file that this process has mapped and read."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


def test_what_was_read_of_a_file_does_not_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_file, "MAPPED", 2 * BLOCK)
    tensors = {f"{i}": of(torch.uint8, [BLOCK], i) for i in range(8)}
    files.write(tmp_path / "w", tensor_file.blocks(tensors))
    stored, most = Stored.of(tmp_path / "w"), 0
    for name, tensor in stored.items():
        assert torch.equal(tensor, tensors[name])
        most = max(most, resident(tmp_path / "w"))
    assert BLOCK <= most < 4 * BLOCK


def test_tensors_of_several_files_are_read_by_name_and_shapes_without_their_data(tmp_path: Path) -> None:
    tensors = {name: of(torch.bfloat16, [3, i], i) for i, name in enumerate("dacb")}
    where = {name: tmp_path / name for name in tensors}
    for name, path in where.items():
        files.write(path, tensor_file.blocks({name: tensors[name]}))
    stored = Stored(where)
    assert list(stored) == sorted(tensors)
    assert {name: stored.shape(name) for name in stored} == {name: tensor.shape for name, tensor in tensors.items()}
    assert all(torch.equal(stored[name], tensor) for name, tensor in tensors.items())


def test_a_type_that_nothing_here_has_is_refused() -> None:
    with pytest.raises(ValueError, match=r"w: type torch.complex64; allowed: I64, F64"):
        tensor_file.blocks({"w": torch.zeros(2, dtype=torch.complex64)})


def test_a_machine_of_the_other_byte_order_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "byteorder", "big")
    with pytest.raises(NotImplementedError, match="little-endian"):
        tensor_layout.header({"w": Entry("F32", (2,))})


def test_a_part_of_a_tensor_is_read_alone(tmp_path: Path) -> None:
    whole = torch.arange(24.0).view(2, 3, 4)
    (tmp_path / "a").write_bytes(b"".join(map(bytes, tensor_file.blocks({"a": whole}))))
    place = (slice(1, 2), slice(0, 3), slice(2, 4))
    assert torch.equal(tensor_file.Stored.of(tmp_path / "a").part("a", place), whole[place])
