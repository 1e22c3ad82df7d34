"""Digests of the tensors of a safetensors file, from its bytes alone: a second reader beside the engine's."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable
from pathlib import Path

from blake3 import blake3

from stages.store import json_file

TABLE = re.compile(r"(^|\.)(model\.embed_tokens|lm_head)\.weight(\.|$)")


def digests(paths: Iterable[Path], rows: int | None = None) -> dict[str, str]:
    """Tensor name -> blake3 of dtype, shape and bytes, over the files of one model.

    With `rows`, of tables of words only the first rows: what a larger vocabulary takes over of them.
    Layout: a little-endian uint64 length, that many bytes of JSON, then the data; offsets count from its beginning.
    """
    found: dict[str, str] = {}
    for path in paths:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            length = int.from_bytes(view[:8], "little")
            for name, entry in json_file.parse(view[8 : 8 + length], path).items():
                if name != "__metadata__":
                    start, end = (8 + length + offset for offset in entry["data_offsets"])
                    shape = list(entry["shape"])
                    if rows is not None and len(shape) == 2 and TABLE.search(name):
                        end = start + (end - start) // shape[0] * rows
                        shape[0] = rows
                    with memoryview(view)[start:end] as data:
                        found[name] = digest(entry["dtype"], shape, data)
    return found


def digest(dtype: str, shape: Iterable[int], data: bytes | memoryview) -> str:
    """blake3 of a tensor: its safetensors type name, its shape, its bytes in row-major order."""
    hasher = blake3(f"{dtype} {list(shape)}\n".encode())
    hasher.update(data)
    return str(hasher.hexdigest())
