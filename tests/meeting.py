"""Ranks that meet several times in one process, one stage after the other. In a run they meet once.

Only the port in MASTER_PORT is held for them: the next one may be anybody's.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

import torch.distributed as dist


def again_and_again() -> None:
    """From now on every meeting of this process has a name of its own in one store, which lasts as long as the process.

    So a rank that is quick to meet again does not come to the meeting before.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), size, rank == 0)
    begin, numbers = dist.init_process_group, itertools.count()

    def meet(backend: str, **how: Any) -> None:
        begin(backend, store=dist.PrefixStore(str(next(numbers)), store), rank=rank, world_size=size, **how)

    dist.init_process_group = meet
