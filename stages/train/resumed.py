"""Whether all ranks have gone on from one checkpoint.

The first rank compares the digests of a checkpoint's files before any rank reads them. A node may have other files
under that path: an older copy, or what its cache of a file system has kept.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from stages.models.tensor_file import Stored
from stages.train.alike import FILES, SHOWN, DifferentRanksError, other
from stages.train.checkpoint import OPTIMIZER, Counters
from stages.train.checksum import of_pieces, on_gpu, pieces, unsigned
from stages.train.optimizer import Optimizer
from stages.train.ranks import Ranks


def check(folder: Path, counters: Counters, optimizer: Optimizer, ranks: Ranks) -> None:
    """Raise DifferentRanksError on all ranks where one has read other counters or moments than the first rank's files
    have. All ranks call it, after they have read their parts; weights have copies, which `alike` compares.
    """
    if ranks.size == 1:
        return
    if (rank := other(ranks.values(asdict(counters)))) is not None:
        raise DifferentRanksError(f"{folder}: rank {rank} has read other counters there than the first rank. {FILES}")
    whole = optimizer.shapes()
    parts = {name: (part, start) for name, part, start in optimizer.owned() if name in whole}
    own = torch.tensor([_signed(_word(part, start)) for part, start in parts.values()], dtype=torch.int64)
    read, different = ranks.count(own).tolist(), list[str]()
    if ranks.first:
        written = Stored.of(folder / OPTIMIZER)
        words = {name: unsigned(word) for name, word in zip(parts, read, strict=True)}
        different = [name for name in written if name in words and words[name] != _word(written[name])]
    if names := ranks.values(different)[0]:
        rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise DifferentRanksError(
            f"{folder / OPTIMIZER}: on the ranks, {', '.join(names[:SHOWN])}{rest} are not what the first rank's file "
            f"has. {FILES}"
        )


def _word(part: torch.Tensor, start: int = 0) -> int:
    return of_pieces(*pieces(part, start)) if part.device.type == "cpu" else unsigned(int(on_gpu(part, start)))


def _signed(word: int) -> int:
    """The same 64 bits as a signed integer, which a sum over ranks wraps around."""
    return word - (1 << 64) if word >> 63 else word
