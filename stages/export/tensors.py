"""The tensors of an export: under which name, type and shape each goes out, and where its bytes lie now.

A tensor is read, rounded and handed on in blocks, so an export needs the memory of a few blocks, whatever the size of
the model or of its largest tensor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.export.names import Published
from stages.export.result import Result
from stages.store import tensor_layout
from stages.store.digest import BLOCK
from stages.store.tensor_layout import WIDTHS, Entry

Dtype = Literal["bf16", "fp32"]
STORED: Mapping[Dtype, str] = {"bf16": "BF16", "fp32": "F32"}
TORCH: Mapping[Dtype, str] = {"bf16": "bfloat16", "fp32": "float32"}  # as config.json has it
# DeepSeek-V3 releases keep the router's bias in fp32, and transformers 5 and vLLM compute with it so: rounded, it would
# choose other experts.
ALWAYS_FP32 = ("e_score_correction_bias",)
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Outgoing:
    """One tensor: its name, type and shape in the export, and its bytes in a file of the result."""

    name: str
    entry: Entry
    path: Path
    offset: int
    stored: str  # type in the result

    def blocks(self) -> Iterator[memoryview]:
        """Its bytes in the export, rounded to the nearest where the type is shorter (ties to even)."""
        left, width = self.entry.size // WIDTHS[self.entry.dtype] * WIDTHS[self.stored], WIDTHS[self.stored]
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset)
            while left > 0:
                data = bytearray(min(left, BLOCK // width * width))
                _fill(file.readinto, data, self.path)
                left -= len(data)
                yield memoryview(data) if self.stored == self.entry.dtype else _cast(data, self.stored, self.entry)


def outgoing(result: Result, published: Published, dtype: Dtype) -> list[Outgoing]:
    """All tensors of a result under their published names, those of a layer together, layers in order."""
    found = []
    for module in result.stage.modules:
        for path in result.shards(module):
            for name, (entry, offset) in tensor_layout.read_header(path).items():
                given = "F32" if name.endswith(ALWAYS_FP32) else STORED[dtype]
                new, shape = published.tensor(module, name, entry.shape)
                found.append(Outgoing(new, Entry(given, shape), path, offset, entry.dtype))
    return sorted(found, key=lambda one: _natural(one.name))


def divided(tensors: Sequence[Outgoing], most: int) -> list[list[Outgoing]]:
    """Tensors in files of at most `most` bytes of data each, in order; one that is larger has a file of its own."""
    parts: list[list[Outgoing]] = []
    size = most
    for tensor in tensors:
        if not parts or size + tensor.entry.size > most:
            parts.append([])
            size = 0
        parts[-1].append(tensor)
        size += tensor.entry.size
    return parts


def blocks(part: Sequence[Outgoing]) -> Iterator[memoryview]:
    """The bytes of a safetensors file of these tensors."""
    by_name = {one.name: one for one in part}
    entries = {name: one.entry for name, one in by_name.items()}
    yield memoryview(tensor_layout.header(entries, {"format": "pt"}))
    for name in tensor_layout.order(entries):
        yield from by_name[name].blocks()


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Layer 2 before layer 10."""
    return tuple((1, int(part)) if part.isdecimal() else (0, part) for part in _DIGITS.split(name))


def _fill(read: object, data: bytearray, path: Path) -> None:
    view = memoryview(data)
    while len(view) > 0:
        count = read(view)  # type: ignore[operator]
        if not count:
            raise OSError(f"{path} ends before its last tensor")
        view = view[count:]


def _cast(data: bytearray, stored: str, entry: Entry) -> memoryview:
    import torch

    types = {"F32": torch.float32, "BF16": torch.bfloat16}
    cast = torch.frombuffer(data, dtype=types[stored]).to(types[entry.dtype])
    return memoryview(cast.view(torch.uint8).numpy())
