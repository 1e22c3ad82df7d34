"""Whether all ranks have gone on from one checkpoint.

The first rank compares the digests of a checkpoint's files before any rank reads them. A node may have other files
under that path: an older copy, or what its cache of a file system has kept.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from stages.models.tensor_file import Stored
from stages.printable import first_few
from stages.train import checksum
from stages.train.alike import FILES, SHOWN, DifferentRanksError, other
from stages.train.checkpoint import OPTIMIZER, Counters
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
    read = ranks.count(checksum.signed(checksum.words([*parts.values()]))).tolist()
    different = list[str]()
    if ranks.first:
        written = Stored.of(folder / OPTIMIZER)
        found = {name: checksum.unsigned(word) for name, word in zip(parts, read, strict=True)}
        different = [
            name for name in written if name in found and checksum.words([(written[name], 0)]) != [found[name]]
        ]
    if names := ranks.values(different)[0]:
        raise DifferentRanksError(
            f"{folder / OPTIMIZER}: on the ranks, {first_few(names, SHOWN)} are not what the first rank's file "
            f"has. {FILES}"
        )
