"""Digests of the tensors of a safetensors file, from its bytes alone: a second reader next to the engine's."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from blake3 import blake3

from stages.store import json_file

STACK = re.compile(r"(.*\.mlp\.experts)\.(\w+_proj)")
TABLE = re.compile(r"(^|\.)(model\.embed_tokens|lm_head)\.weight(\.|$)")


def digests(paths: Iterable[Path], rows: int | None) -> dict[str, str]:
    """Tensor name -> blake3 of dtype, shape and bytes, over the files of one model.

    With `rows`, of tables of words only the first rows: what a larger vocabulary takes over of them.
    """
    found: dict[str, str] = {}
    for path in paths:
        for name, dtype, shape, data in _entries(path):
            if rows is not None and len(shape) == 2 and TABLE.search(name):
                with data[: len(data) // shape[0] * rows] as first:
                    found[name] = digest(dtype, [rows, shape[1]], first)
            else:
                found[name] = digest(dtype, shape, data)
    return found


def averages(path: Path, module: str) -> dict[str, str]:
    """Digests of the averages of a module's parameters, under the names that its weights have in their own files.

    `path` is a result's optimizer state. A stack of experts [E, out, in] is a tensor of each expert there.
    """
    found: dict[str, str] = {}
    for name, dtype, shape, data in _entries(path):
        if not name.startswith(f"{module}.") or not name.endswith(".ema"):
            continue
        own = name.removeprefix(f"{module}.").removesuffix(".ema")
        stack = STACK.fullmatch(own)
        if stack is None:
            found[own] = digest(dtype, shape, data)
            continue
        size = len(data) // shape[0]
        for expert in range(shape[0]):
            with data[expert * size : (expert + 1) * size] as one:
                found[f"{stack[1]}.{expert}.{stack[2]}.weight"] = digest(dtype, shape[1:], one)
    return found


def _entries(path: Path) -> Iterator[tuple[str, str, list[int], memoryview]]:
    """Name, type, shape and bytes of each tensor.

    Layout: a little-endian uint64 length, that many bytes of JSON, then the data; offsets count from its beginning.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        length = int.from_bytes(view[:8], "little")
        for name, entry in json_file.parse(view[8 : 8 + length], path).items():
            if name != "__metadata__":
                start, end = (8 + length + offset for offset in entry["data_offsets"])
                with memoryview(view) as whole, whole[start:end] as data:
                    yield name, entry["dtype"], list(entry["shape"]), data


def digest(dtype: str, shape: Iterable[int], data: bytes | memoryview) -> str:
    """blake3 of a tensor: its safetensors type name, its shape, its bytes in row-major order."""
    hasher = blake3(f"{dtype} {list(shape)}\n".encode())
    hasher.update(data)
    return str(hasher.hexdigest())
