"""One bit flipped in a weight, the optimizer's state or a gradient of a step, or in a token of a data file."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from stages.contract import ledger
from stages.contract.ledger import Step
from stages.data.corpus.mmidx import read as read_tokens
from stages.data.loading.loader import PhaseData
from stages.data.loading.readers import scope
from stages.engines import Inputs
from stages.spec.resolved import Stage
from stages.train import replicated
from stages.train.metrics import GRADIENT, ROWS
from stages.train.objectives.base import Objective
from stages.train.optimizer import Optimizer
from stages.train.ranks import ALONE, Ranks

KINDS = ("weight", "gradient", "data", "optimizer state")


@dataclass(frozen=True)
class Flip:
    """What is flipped: before a step's gradients a weight or moment, after them a gradient; or a token of a file."""

    kind: str
    step: int  # of the stage; the first that reads it, for data
    where: str  # the checksum's name, and which number and bit of it


@contextmanager
def planted(kind: str, at: int, draw: random.Random) -> Iterator[list[str]]:
    """One bit of a weight before step `at` of the stage, or of a gradient after its backward pass. Says which."""
    said: list[str] = []
    count = iter(range(1, 10**9))
    gather = replicated.gather

    def flipping(
        optimizer: Optimizer, objective: Objective, step: Step, ranks: Ranks = ALONE
    ) -> tuple[list[Tensor], list[Tensor]]:
        now, names = next(count) == at, [slot.name for slot in optimizer.slots]
        if now and kind == "weight":
            said.append(flip(draw, [slot.parameter.data for slot in optimizer.slots], names))
        if now and kind == "optimizer state":
            moments = {name: tensor for name, tensor, _ in optimizer.owned() if name not in names}
            said.append(flip(draw, list(moments.values()), list(moments)))
        gradients, values = gather(optimizer, objective, step, ranks)
        if now and kind == "gradient":
            said.append(flip(draw, gradients, [f"{name}{GRADIENT}" for name in names]))
        return gradients, values

    with mock.patch.object(replicated, "gather", flipping):
        yield said


def flip(draw: random.Random, tensors: list[Tensor], names: list[str]) -> str:
    """Flip any bit of any number of any tensor."""
    chosen = draw.randrange(len(tensors))
    flat = tensors[chosen].reshape(-1)
    place, bit = draw.randrange(flat.numel()), draw.randrange(32)
    flat.view(torch.int32)[place] ^= torch.tensor(1 << bit if bit < 31 else -(1 << 31), dtype=torch.int32)
    tensors[chosen].copy_(flat.view_as(tensors[chosen]))
    return f"{names[chosen]} [{place}], bit {bit}"


def flipped_file(stage: Stage, inputs: Inputs, at: int, draw: random.Random, folder: Path) -> tuple[Inputs, Flip]:
    """A copy of the corpora with one bit flipped of a token that step `at` learns, and the first step that reads it."""
    place, step = ledger.step_of(stage.phases, at)
    phase = stage.phases[place]
    clean = PhaseData(phase, stage.seed, scope(phase), inputs.data_root)
    while True:
        (row,) = clean.samples(step.first_sample + draw.randrange(step.sequences), 1, 0)
        learned = np.flatnonzero(row.labels[:-1] != -100) + 1
        if len(learned):
            break
    corpus, document, within = _position(row.spans, int(draw.choice(learned.tolist())))
    shutil.copytree(inputs.data_root / corpus, folder / corpus)
    tokens = read_tokens(folder / corpus / "tokens")
    width, number = tokens.tokens.dtype.itemsize, int(tokens.offsets[document]) + within
    bit, path = draw.randrange(8), folder / corpus / "tokens.bin"
    data = bytearray(path.read_bytes())
    data[number * width] ^= 1 << bit  # the low byte: another id of the same vocabulary
    path.write_bytes(data)
    for other in inputs.data_root.iterdir():
        if other.name != corpus and other.is_dir():
            (folder / other.name).symlink_to(other)
    first = _first(stage, inputs.data_root, folder)
    return replace(inputs, data_root=folder), Flip(
        "data", first, f"{ROWS} {corpus}/tokens.bin, token {number}, bit {bit}"
    )


def _position(spans: tuple[tuple[str, int, int, int], ...], at: int) -> tuple[str, int, int]:
    for corpus, document, start, end in spans:
        if at < end - start:
            return corpus, document, start + at
        at -= end - start
    raise AssertionError("a learned position lies in a span")


def _first(stage: Stage, clean: Path, flipped: Path) -> int:
    """The first step of which a row differs: read by the loader, not by what is tested."""
    before = 0
    for phase in stage.phases:
        both = [PhaseData(phase, stage.seed, scope(phase), root) for root in (clean, flipped)]
        for step in ledger.steps(phase):
            if _differs(step, *both):
                return before + step.index + 1
        before += ledger.count(phase)
    raise AssertionError("no step reads the flipped token")


def _differs(step: Step, one: PhaseData, other: PhaseData) -> bool:
    rows = zip(*(data.samples(step.first_sample, step.sequences, step.tail) for data in (one, other)), strict=True)
    return any(not (np.array_equal(a.tokens, b.tokens) and np.array_equal(a.labels, b.labels)) for a, b in rows)
