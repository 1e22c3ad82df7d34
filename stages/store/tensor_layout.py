"""Where each tensor of a safetensors file lies: the header and the order of the data, byte for byte as the library's.

A file is 8 bytes with the length of the header (little-endian), the header (JSON, padded with spaces to a multiple of
8), then the tensors' bytes in row-major order without gaps: https://github.com/huggingface/safetensors#format. The
library orders tensors by type, the widest first, and then by name, so that each is aligned (its `prepare`). Written
here because the library serialises all tensors at once, and a checkpoint goes to the disk and the hash in blocks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from stages.store import json_file

# Bytes of an element, in the library's order of types.
WIDTHS = {
    "I64": 8, "F64": 8, "F32": 4, "I32": 4, "BF16": 2, "F16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
_RANK = {dtype: rank for rank, dtype in enumerate(WIDTHS)}
ALIGNED = 8  # bytes


@dataclass(frozen=True)
class Entry:
    """A tensor without its data: its type as safetensors names it, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return WIDTHS[self.dtype] * prod(self.shape)


def order(entries: Mapping[str, Entry]) -> list[str]:
    """Names in the order of the data. Raises ValueError for a type that no model or optimizer here has."""
    for name, entry in entries.items():
        if entry.dtype not in WIDTHS:
            raise ValueError(f"{name}: type {entry.dtype}; allowed: {', '.join(WIDTHS)}")
    return sorted(entries, key=lambda name: (_RANK[entries[name].dtype], name))


def header(entries: Mapping[str, Entry], metadata: Mapping[str, str] | None = None) -> bytes:
    """Everything before the data. Raises NotImplementedError on a machine whose bytes are in the other order."""
    if sys.byteorder != "little":
        raise NotImplementedError("safetensors files are little-endian; this machine is not")
    fields: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    offset = 0
    for name in order(entries):
        entry = entries[name]
        end = offset + entry.size
        fields[name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    text += b" " * (-len(text) % ALIGNED)
    return len(text).to_bytes(8, "little") + text


def read_header(path: Path) -> dict[str, tuple[Entry, int]]:
    """Each tensor of a file, and the offset of its first byte from the beginning of the file.

    For files whose digest was compared: raises JsonFileError or KeyError for what is no safetensors file, OSError.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        fields = json_file.parse(file.read(length), path)
    tensors = ((name, field) for name, field in fields.items() if name != "__metadata__")
    return {
        name: (Entry(field["dtype"], tuple(field["shape"])), 8 + length + field["data_offsets"][0])
        for name, field in tensors
    }
