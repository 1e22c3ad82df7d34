"""A rank that compares what it computes with the others, in buckets of several sizes, with what it computes alone."""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from stages.models import tensor_file
from stages.spec.resolved_training import AdamW, Muon
from stages.train import collectives
from stages.train.finite import broken_tensors
from stages.train.optimizer import Optimizer
from stages.train.param_groups import trained_slots
from stages.train.ranks import ALONE, Ranks, joined
from stages.train.reduce import combine
from tests.live import Live
from tests.unit.train.tiny import ADAMW, MUON

SHAPES = ((3, 5), (), (129, 7), (2, 3, 4), (1000,))
BUCKETS = (200, 1001, collectives.BUCKET)


def parts(ranks: int) -> list[list[Tensor | None]]:
    """What each rank sums alone. Some tensors nobody touches, some not all ranks; zeros are negative."""
    generator = torch.Generator().manual_seed(3)
    found: list[list[Tensor | None]] = [
        [torch.randn(shape, generator=generator) for shape in SHAPES] for _ in range(ranks)
    ]
    for part in found:
        part[3] = None
        part[4] = torch.full((1000,), -0.0)
        part[0] = torch.full(SHAPES[0], -0.0)
    found[-1][0] = None
    for part in found[1:]:
        part[2] = None
    return found


def sums(ranks: Ranks) -> None:
    """Gradients along the tree; every rank gets the same."""
    like = [torch.zeros(shape) for shape in SHAPES]
    total = ranks.all_reduce(parts(ranks.size)[ranks.rank], like)
    assert total is not None
    expected = combine([list(part) for part in parts(ranks.size)])
    assert expected is not None
    for ours, theirs in zip(total, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert ours.shape == theirs.shape
            assert torch.equal(ours.view(-1).view(torch.int32), theirs.reshape(-1).view(torch.int32))
    assert ranks.all_reduce(None, like) is None
    only_last = ranks.all_reduce([like[0] + 1, *[None] * 4] if ranks.rank == ranks.size - 1 else None, like)
    assert only_last is not None
    assert only_last[0] is not None
    assert torch.equal(only_last[0], torch.ones(3, 5))


def made(cfg: AdamW | Muon, ranks: Ranks) -> tuple[nn.ModuleDict, Optimizer]:
    """Equal modules on every rank, with tensors shorter than a unit of the division and longer ones."""
    torch.manual_seed(0)
    layers = (nn.Embedding(50, 48), nn.Linear(48, 48), nn.Linear(48, 31), nn.LayerNorm(31), nn.Linear(31, 48))
    modules = nn.ModuleDict({"llm": nn.Sequential(*layers), "vit": nn.Linear(5, 3)})
    return modules, Optimizer(cfg, trained_slots(modules, ("llm", "vit"), cfg), ranks)


def steps(optimizer: Optimizer, seeds: range) -> Iterator[Tensor]:
    """Train on random gradients, equal on every rank; the norms before the clip."""
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        gradients = [torch.randn(p.shape, generator=generator) for p in optimizer.parameters]
        clipped = optimizer.clip(gradients)
        yield clipped.norm
        optimizer.step(clipped, 0.01 * (seed + 1))


def updates(ranks: Ranks, cfg: AdamW | Muon) -> None:
    """Parameters, norms and the gathered state are those of one rank, also after the state went to a new optimizer."""
    alone, other = made(cfg, ALONE), made(cfg, ranks)
    assert [float(norm) for norm in steps(other[1], range(3))] == [float(norm) for norm in steps(alone[1], range(3))]
    state = list(other[1].gather_state())
    told = [name for name, _ in state]
    assert ranks.broadcast(",".join(told)) == ",".join(tensor_file.order(alone[1].state()))
    assert ranks.first or not told
    for name, tensor in state:
        assert tensor.shape == alone[1].state()[name].shape
        assert torch.equal(tensor, alone[1].state()[name]), name
    if ranks.first:
        streamed = tensor_file.blocks(other[1].shapes(), other[1].gather_state())
        assert b"".join(map(bytes, streamed)) == to_bytes(alone[1].state())
    else:
        assert not list(other[1].gather_state())
    modules, again = made(cfg, ranks)
    modules.load_state_dict(other[0].state_dict())
    for module in ("llm", "vit"):
        again.load(alone[1].state(), module, "p/s")
    for _ in zip(steps(again, range(3, 5)), steps(alone[1], range(3, 5)), strict=True):
        pass
    assert all(torch.equal(a, b) for a, b in zip(again.parameters, alone[1].parameters, strict=True))


def memory(ranks: Ranks) -> None:
    """A sum takes the memory of two buckets beside the gradients, however many these are."""
    like = [torch.zeros(100_000) for _ in range(5)]
    part: list[Tensor | None] = [torch.ones(100_000) for _ in range(5)]
    collectives.BUCKET = 8192
    with Live() as live:
        ranks.all_reduce(part, like)
        assert live.peak <= 2 * 4 * collectives.BUCKET + 4096, live.peak
    with Live() as live:
        ranks.all_gather_parts(like, [tuple(100_000 * r // ranks.size for r in range(ranks.size + 1))] * 5)
        assert live.peak <= 2 * 4 * collectives.BUCKET + 4096, live.peak
    with Live() as live:
        whole = ranks.gather_parts(like[0][: 100_000 if ranks.first else 0], (0,) + (100_000,) * ranks.size)
        assert live.peak <= 4 * (collectives.BUCKET + (100_000 if ranks.first else 0)) + 4096
    assert (whole is None) != ranks.first


def brokenness(ranks: Ranks) -> None:
    """What is not finite on one rank is named by all."""
    _, optimizer = made(ADAMW, ranks)
    assert broken_tensors(optimizer.state(), ranks) == []
    last = ranks.rank == ranks.size - 1
    if last:
        optimizer.state()["vit.bias.exp_avg"].fill_(float("inf"))
    assert (optimizer.state()["vit.bias.exp_avg"].numel() > 0) == last
    assert broken_tensors(optimizer.state(), ranks) == ["vit.bias.exp_avg"]


def main() -> None:
    with joined(int(os.environ["WORLD_SIZE"])) as ranks:
        for bucket in BUCKETS:
            collectives.BUCKET = bucket
            sums(ranks)
            for cfg in (ADAMW, MUON):
                updates(ranks, cfg)
        brokenness(ranks)
        memory(ranks)
        assert ranks.each([ranks.rank, 0.5]) == [[float(rank), 0.5] for rank in range(ranks.size)]
        assert ranks.texts("ü" * ranks.rank) == ["ü" * rank for rank in range(ranks.size)]
        assert ranks.any(ranks.rank == 1)
        assert not ranks.any(False)
        assert torch.equal(
            ranks.count(torch.tensor([1, ranks.rank])), torch.tensor([ranks.size, sum(range(ranks.size))])
        )
        ranks.barrier()


if __name__ == "__main__":
    main()
