"""The price of equal bits: several ranks on the fixed tree against a plain all-reduce, between real processes.

Two questions: what a whole training step takes, against DistributedDataParallel; and what of it the exchange alone
takes, against one all-reduce of the same bytes. What the tree adds: which gradients exist at all, laying them end to
end, and taking them out again. Both ways are timed in turn in the same processes. `python -m benchmarks.ranks`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks import step
from benchmarks.timing import Comparison, compare, show
from stages.engines.launch import launch
from stages.train.ranks import Ranks, joined

SIZES = (2, 4)
SHAPES = ((4096, 256), *((256, 256), (256, 256), (256, 688), (256,)) * 8)  # 3.5 M parameters, 8 layers


def run() -> list[Comparison]:
    return [comparison for size in SIZES for comparison in _launch(size)]


def _launch(size: int) -> list[Comparison]:
    with tempfile.TemporaryDirectory() as name:
        found = Path(name) / "found.json"
        launch([sys.executable, "-m", "benchmarks.ranks", str(found)], size, "benchmarks")
        return [Comparison(**fields) for fields in json.loads(found.read_bytes())]


def exchange(ranks: Ranks) -> Comparison:
    """Both copy the gradients first, as a backward pass would make new ones."""
    torch.manual_seed(ranks.rank)
    gradients = [torch.randn(shape) for shape in SHAPES]

    def ours() -> None:
        ranks.all_reduce([gradient.clone() for gradient in gradients], gradients)

    def plain() -> None:
        """One bucket, as DistributedDataParallel lays gradients out, and back."""
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        parts: list[Tensor] = list(flat.split([gradient.numel() for gradient in gradients]))
        for gradient, part in zip([gradient.clone() for gradient in gradients], parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    count = sum(gradient.numel() for gradient in gradients)
    each = f"{count / 1e6:.1f} M gradients, {ranks.size} ranks, gloo, one thread each"
    return compare("sum over ranks", each, ours, plain, 31, ranks.barrier)


def training(ranks: Ranks) -> Comparison:
    stage = step.stage()
    each = f"{step.EACH}, {ranks.size} ranks, one thread each"
    return compare(
        "training step over ranks", each, lambda: step.ours(stage, ranks), lambda: step.plain(stage, ranks), 7,
        ranks.barrier,
    )  # fmt: skip


def _measure(found: Path) -> None:
    """Be one of the ranks; the first writes what it measured."""
    torch.set_num_threads(1)
    with joined(int(os.environ["WORLD_SIZE"])) as ranks:
        comparisons = [training(ranks), exchange(ranks)]
        if ranks.first:
            found.write_text(json.dumps([asdict(comparison) for comparison in comparisons]))


if __name__ == "__main__":
    if sys.argv[1:]:
        _measure(Path(sys.argv[1]))
    else:
        show(run())
