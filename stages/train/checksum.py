"""A checksum of a tensor's bytes: one 64-bit word, the same for any division of the tensor over ranks.

The bytes are read as 64-bit integers x_i, and the checksum is the sum of w_i x_i modulo 2^64, w_i odd and fixed by i
alone. So one flipped bit always shows: it adds 2^b w_i, which is not 0 modulo 2^64. Any other change, numbers that were
exchanged too, is missed once in about 2^64. A sum of integers that wraps around has no order: parts of a tensor have
sums of their own, which are added. This is for faults of machines; it is no protection against a person.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

WORD = 8  # bytes
ROW = 1 << 16  # words: the weights of a row stay in a processor's second cache, and each row has its own factor
ROWS = 128  # that a GPU takes at once: the products of these are 64 MiB
FACTOR = 0x9E3779B97F4A7C15  # odd: 2^64 by the golden ratio (Knuth, The Art of Computer Programming 3, 6.4)

Words = NDArray[np.int64]
Piece = tuple[Words, Words, int]  # words within one row, their weights, the row's factor
Rest = tuple[NDArray[np.uint8], int]  # the last bytes, which fill no word, and the word's weight
T = TypeVar("T", Tensor, Words)


def pieces(part: Tensor, start: int = 0) -> tuple[list[Piece], Rest | None]:
    """What `of_pieces` takes of a part of a tensor of a CPU that begins with its element number `start`.

    They are the part's own memory, so they say what is in it later too, unless it has gaps. `start` is a multiple of 8
    elements, as borders between ranks are (`train.shards`).
    """
    part, first = part.detach(), start * part.element_size() // WORD
    octets = (part.view(torch.int16) if part.dtype == torch.bfloat16 else part).numpy().reshape(-1).view(np.uint8)
    if len(octets) % WORD:
        whole = len(octets) // WORD * WORD
        row, column = divmod(first + whole // WORD, ROW)
        rest = octets[whole:], int(_weights()[column]) * pow(FACTOR, row, 1 << 64)
        return _rows(octets[:whole].view(np.int64), first), rest
    return _rows(octets.view(np.int64), first), None


def of_pieces(rows: Sequence[Piece], rest: Rest | None) -> int:
    """The checksum of a part from its pieces, as they are now."""
    total = 0 if rest is None else int.from_bytes(rest[0].tobytes(), "little") * rest[1]
    for words, weights, factor in rows:
        total += int(words.dot(weights)) * factor
    return total % (1 << 64)


def on_gpu(part: Tensor, start: int = 0) -> Tensor:
    """int64 []: the same for GPUs, where integers have no dot product; nothing is read back."""
    if not part.numel():
        return torch.zeros((), dtype=torch.int64, device=part.device)
    flat = part.detach().reshape(-1).view(torch.uint8)
    flat = torch.nn.functional.pad(flat, (0, -len(flat) % WORD)) if len(flat) % WORD else flat
    words = (flat.clone() if flat.data_ptr() % WORD else flat).view(torch.int64)
    first = start * part.element_size() // WORD
    total, table = words.new_zeros(()), _table(part.device)
    factors = _factors(part.device, ((first + len(words) - 1) // ROW).bit_length())
    for row, column, some in _stretches(words, first, ROWS):
        if len(some) < ROW:
            total += (some * table[column : column + len(some)]).sum() * factors[row]
        else:
            rows = some.view(-1, ROW)
            total += ((rows * table).sum(1) * factors[row : row + len(rows)]).sum()
    return total


def words(parts: Sequence[tuple[Tensor, int]]) -> list[int]:
    """The checksum of each part, with the number of its first element, of one kind of device. Waits for it once."""
    if all(part.device.type == "cpu" for part, _ in parts):
        return [of_pieces(*pieces(part, start)) for part, start in parts]
    return [unsigned(word) for word in torch.stack([on_gpu(part, start) for part, start in parts]).tolist()]


def unsigned(value: int) -> int:
    """The 64 bits of a signed integer, as a number from 0."""
    return value % (1 << 64)


def signed(found: Sequence[int]) -> Tensor:
    """int64: numbers from 0 by the same 64 bits, which a sum over ranks wraps around."""
    return torch.from_numpy(np.array(found, dtype=np.uint64).view(np.int64))


def _rows(words: Words, first: int) -> list[Piece]:
    if first + len(words) <= ROW:
        return [(words, _weights()[first : first + len(words)], 1)]
    return [
        (some, _weights()[column : column + len(some)], pow(FACTOR, row, 1 << 64))
        for row, column, some in _stretches(words, first, 1)
    ]


def _stretches(words: T, start: int, most: int) -> Iterator[tuple[int, int, T]]:
    """(row, column, words) where each begins: up to the next border of rows, or whole rows, at most so many at once."""
    place = 0
    while place < len(words):
        row, column = divmod(start + place, ROW)
        left = len(words) - place
        length = min(left, ROW - column) if column or left < ROW else min(left // ROW, most) * ROW
        yield row, column, words[place : place + length]
        place += length


@cache
def _weights() -> Words:
    """[ROW]: odd numbers without a pattern, by splitmix64 (Steele, Lea & Flood 2014) of 0, 1, 2, ..."""
    z = np.arange(1, ROW + 1, dtype=np.uint64) * np.uint64(FACTOR)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = (z ^ (z >> np.uint64(31))) | np.uint64(1)
    return z.view(np.int64)


@cache
def _table(device: torch.device) -> Tensor:
    return torch.from_numpy(_weights()).to(device)


@cache
def _factors(device: torch.device, bits: int) -> Tensor:
    """[2^bits]: every row's factor. Few of them: a tensor of 2^33 bytes has 2^14 rows."""
    powers = np.full(1 << bits, FACTOR, dtype=np.uint64)
    powers[0] = 1
    return torch.from_numpy(np.multiply.accumulate(powers).view(np.int64)).to(device)
