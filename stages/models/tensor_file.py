"""Safetensors files of any size: written in blocks straight from the tensors' memory, read one tensor at a time.

The bytes are those of `safetensors.torch.save`. Besides the tensors, writing needs one block, and the copy of one
tensor where its elements do not lie one after the other; reading needs the tensor that is being read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from stages.store import tensor_layout
from stages.store.digest import BLOCK
from stages.store.tensor_layout import Entry

JOINED = 1 << 20  # bytes: pieces below are copied together, so that a thousand biases are not a thousand writes
MAPPED = 256 << 20  # bytes that are read before a file is mapped again
DTYPES = {
    torch.int64: "I64", torch.float64: "F64", torch.float32: "F32", torch.int32: "I32", torch.bfloat16: "BF16",
    torch.float16: "F16", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def order(like: Mapping[str, Tensor]) -> list[str]:
    """Names in the order in which a file contains them: the same on every rank that has tensors of these shapes."""
    return tensor_layout.order(_entries(like))


def blocks(
    like: Mapping[str, Tensor],
    tensors: Iterable[tuple[str, Tensor]] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Iterator[memoryview]:
    """The bytes of the file of these tensors, for `files.write` and `files.write_atomic`.

    `tensors` gives them one by one in the order of `order`, where they are not all here at once: of `like` only the
    types and shapes count then, so that it may be on the device "meta". A tensor is read when the one before it
    has been written. Raises ValueError for a type that is not in DTYPES, and for other tensors than those of `like`.
    """
    entries = _entries(like)
    names = tensor_layout.order(entries)
    source = ((name, like[name]) for name in names) if tensors is None else tensors
    return _joined(_pieces(tensor_layout.header(entries, metadata), names, entries, source))


def raw(tensor: Tensor) -> Tensor:
    """The bytes of a tensor in row-major order, uint8 [n]: its own memory, or that of a copy if it has gaps."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


class Stored(Mapping[str, Tensor]):
    """The tensors of files by name, each read from the disk when its numbers are needed.

    A file is mapped into memory, and what has been read of a mapping counts as the process's: so each is mapped again
    after MAPPED bytes. A tensor that is kept keeps its mapping. Raises OSError and SafetensorError.
    """

    def __init__(self, where: Mapping[str, Path]) -> None:
        """`where`: the file that contains each tensor."""
        self._where = dict(sorted(where.items(), key=lambda one: (one[1], one[0])))
        self._path, self._read = Path(), 0
        self._file: Any = None

    @classmethod
    def of(cls, path: Path) -> Stored:
        """The tensors of one file."""
        with safe_open(path, framework="pt", device="cpu") as file:
            return cls(dict.fromkeys(file.keys(), path))

    def shape(self, name: str) -> torch.Size:
        """Shape of a tensor, which is not read."""
        return torch.Size(self._open(name).get_slice(name).get_shape())

    def kind(self, name: str) -> str:
        """Type and shape of a tensor, which is not read."""
        part = self._open(name).get_slice(name)
        return _kind(part.get_dtype(), part.get_shape())

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._open(name).get_tensor(name)
        self._read += tensor.nbytes
        return tensor

    def part(self, name: str, place: tuple[slice, ...]) -> Tensor:
        """A part of a tensor; no more than that is read."""
        tensor: Tensor = self._open(name).get_slice(name)[place]
        self._read += tensor.nbytes
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)

    def _open(self, name: str) -> Any:
        path = self._where[name]
        if self._file is None or path != self._path or self._read >= MAPPED:
            self._path, self._read = path, 0
            self._file = safe_open(path, framework="pt", device="cpu")
        return self._file


def kind(tensor: Tensor) -> str:
    """Type and shape of a tensor, as its file says them: "F32 [3, 4]"."""
    return _kind(DTYPES.get(tensor.dtype, str(tensor.dtype)), tensor.shape)


def _kind(dtype: str, shape: Sequence[int]) -> str:
    return f"{dtype} {list(shape)}"


def _entries(like: Mapping[str, Tensor]) -> dict[str, Entry]:
    return {name: _entry(tensor) for name, tensor in like.items()}


def _entry(tensor: Tensor) -> Entry:
    return Entry(DTYPES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape))


def _pieces(
    header: bytes, names: list[str], entries: Mapping[str, Entry], tensors: Iterable[tuple[str, Tensor]]
) -> Iterator[memoryview]:
    yield memoryview(header)
    source = iter(tensors)
    for name in names:
        found, tensor = next(source, ("nothing", None))
        if tensor is None or found != name or _entry(tensor) != entries[name]:
            what = "" if tensor is None else f" {_entry(tensor)}"
            raise ValueError(f"the next tensor of this file is {name} {entries[name]}, found {found}{what}")
        data = raw(tensor)
        for start in range(0, len(data), BLOCK):
            yield memoryview(data[start : start + BLOCK].cpu().numpy())
        del tensor, data  # before the next one is read
    if extra := next(source, None):  # a source that compares at its end is read to its end, too
        raise ValueError(f"this file has no tensor {extra[0]}")


def _joined(pieces: Iterable[memoryview]) -> Iterator[memoryview]:
    """The same bytes, short neighbours copied together."""
    kept = bytearray()
    for piece in pieces:
        if kept and len(kept) + len(piece) > JOINED:
            yield memoryview(kept)
            kept = bytearray()
        if len(piece) < JOINED:
            kept += piece
        else:
            yield piece
    if kept:
        yield memoryview(kept)
