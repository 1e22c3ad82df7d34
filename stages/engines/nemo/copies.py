"""Whether ranks that have the same part of the model have the same numbers in it.

Replicas and context-parallel ranks have copies of all that a rank has, tensor-parallel ranks of what they do not
divide, such as norms and routers, the last pipeline rank of tied embeddings. Each rank moves its own. Where a sum of
gradients leaves a rank out, or a device computes wrongly, copies diverge, and nothing else shows it: of several copies,
a checkpoint and a result have the first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from stages.engines.nemo.local import Owned
from stages.errors import UserError
from stages.models import tensor_file
from stages.printable import first_few
from stages.store.digest import digest_bytes
from stages.train import alike
from stages.train.ranks import Ranks

SHOWN = 3
ROUNDED = 1e-6  # relative: norms of equal gradients
REPAIR = (
    "Give the same command again: the stage goes on from its last checkpoint. Where it ends so again on other devices, "
    "a sum over ranks is left out: run with the versions that `make nemo` installs, without plugins."
)


class DifferentCopiesError(UserError):
    """Ranks have computed different weights; nothing was saved of them."""


@torch.no_grad()
def check(where: str, parameters: Sequence[Owned], ranks: Ranks) -> None:
    """Raise DifferentCopiesError on all ranks where one has other weights than another that should have the same.

    Compared is what the model computes with. All ranks call it.
    """
    own = [
        [one.placed.targets[0], one.part, digest_bytes(bytes(tensor_file.raw(one.tensor.cpu()).numpy()))[:16]]
        for one in parameters
    ]
    first: dict[tuple[str, int], tuple[int, str]] = {}
    different: dict[str, str] = {}
    for rank, theirs in enumerate(ranks.values(own)):
        for name, part, digest in theirs:
            known, expected = first.setdefault((name, part), (rank, digest))
            if digest != expected:
                different.setdefault(name, f"{name} of rank {rank} is not that of rank {known}")
    if different:
        raise DifferentCopiesError(
            f"{where}: {first_few([*different.values()], SHOWN, '; ')}; allowed: equal copies, which equal "
            f"gradients move. Nothing was saved of this. {REPAIR}"
        )


def check_step(where: str, norm: float, rows: int, ranks: Ranks) -> None:
    """Raise DifferentCopiesError on all ranks unless all have the same norm of a step's gradients, and of its rows the
    same checksum. All call it.
    """
    found = ranks.each([norm, float(rows)])
    norms, read = [one for one, _ in found], [one for _, one in found]
    if (rank := alike.other(read)) is not None:
        raise DifferentCopiesError(
            f"{where}: rank {rank} reads other rows of this step than the first rank; allowed: one folder of corpora "
            "for all nodes. Nothing was updated. Is it the same file system everywhere?"
        )
    if max(norms) - min(norms) > ROUNDED * max(norms):
        raise DifferentCopiesError(
            f"{where}: a step's gradients have the norm {min(norms):.9g} on one rank, {max(norms):.9g} on another; "
            f"allowed: the same on all. Nothing was updated. {REPAIR}"
        )
