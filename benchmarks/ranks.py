"""The price of equal bits: gradients summed along the fixed tree against a plain all-reduce, between real processes.

`python -m benchmarks.ranks`. What is added: which gradients exist at all, laying them end to end, and taking them out
again; the bytes that travel are an all-reduce's. Both are timed in turn in the same processes; the first rank prints.
"""

from __future__ import annotations

import os
import sys

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks.timing import Comparison, compare
from stages.engines.launch import inside, launch
from stages.train.ranks import Ranks, joined

SHAPES = ((4096, 256), *((256, 256), (256, 256), (256, 688), (256,)) * 8)  # 3.5 M parameters, 8 layers
REPETITIONS = 7


def measure(ranks: Ranks) -> Comparison:
    """Time a whole step's exchange. Both copy the gradients first, as a backward pass would make new ones."""
    torch.manual_seed(ranks.rank)
    gradients = [torch.randn(shape) for shape in SHAPES]

    def ours() -> None:
        ranks.add_up([gradient.clone() for gradient in gradients], gradients)

    def plain() -> None:
        """One bucket, as DistributedDataParallel lays gradients out, and back."""
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        parts: list[Tensor] = list(flat.split([gradient.numel() for gradient in gradients]))
        for gradient, part in zip([gradient.clone() for gradient in gradients], parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    count = sum(gradient.numel() for gradient in gradients)
    each = f"{count / 1e6:.1f} M gradients, {ranks.size} ranks, gloo, one thread each"
    return compare("sum over ranks", each, ours, plain, REPETITIONS)


def main() -> None:
    """Start the ranks, or be one of them."""
    if not inside():
        for size in (2, 4):
            launch([sys.executable, "-m", "benchmarks.ranks"], size, "benchmarks")
        return
    torch.set_num_threads(1)
    with joined(int(os.environ["WORLD_SIZE"])) as ranks:
        found = measure(ranks)
        if ranks.first:
            print(" | ".join(found.cells()))


if __name__ == "__main__":
    main()
