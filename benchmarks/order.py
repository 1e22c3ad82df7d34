"""Sample order: our keyed permutation against numpy's shuffle.

The shuffle has the whole order in memory and has to be made again from the start after a restart; ours gives any index
on its own. So two questions are asked: a whole epoch at once, and one step's samples after a restart.
"""

from __future__ import annotations

import numpy as np

from benchmarks.timing import Comparison, compare
from stages.contract.order import Permutation, key

EPOCH, STEP = 2_000_000, 1024


def run() -> list[Comparison]:
    permutation = Permutation(EPOCH, key(1, "benchmark"))
    indices = np.arange(EPOCH, dtype=np.int64)
    step = indices[EPOCH // 2 : EPOCH // 2 + STEP]

    def shuffled() -> np.ndarray:
        return np.random.default_rng(1).permutation(EPOCH)

    return [
        compare(
            "order, whole epoch", f"{EPOCH:,} indices", lambda: permutation.batch(indices), shuffled, 7
        ),
        compare(
            "order, a step after a restart", f"{STEP:,} indices in the middle of {EPOCH:,}",
            lambda: permutation.batch(step), lambda: shuffled()[EPOCH // 2 : EPOCH // 2 + STEP], 7,
        ),
    ]  # fmt: skip
