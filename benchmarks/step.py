"""A training step of the harness against the same step written by hand, at three sizes.

Both have the same model, samples and micro-batches, and AdamW: by hand torch's fused one, its fastest on a CPU. What
the harness adds: one gradient tree instead of accumulation in place, counts before the first backward pass, the finite
check, the LR from the schedule, a row in two tables.
"""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.timing import Comparison, compare, show
from stages.contract.parameters import parameters
from stages.data.loading.sample import Sample
from stages.models.build import build
from stages.spec.families.llama import LlamaModel
from stages.spec.resolved import Evaluation, Execution, Init, Stage
from stages.spec.resolved_models import Rope
from stages.spec.resolved_phases import BatchStep, Phase
from stages.spec.resolved_training import AdamW, Piece, Schedule
from stages.train import metrics
from stages.train.checkpoint import Counters
from stages.train.loop import Run, run_phase
from stages.train.metrics import Table, Unwritten
from stages.train.objectives.causal import Causal
from stages.train.optimizer import Optimizer
from stages.train.param_groups import trained_slots
from stages.train.ranks import ALONE, Ranks
from stages.train.replicated import Replicated
from stages.train.stopping import StopRequest

STEPS, SEQUENCES, MICRO, CONTEXT, VOCAB, LR = 5, 8, 2, 256, 1024, 1e-3
BUDGET = STEPS * SEQUENCES * CONTEXT
EACH = f"{STEPS} steps of {SEQUENCES} x {CONTEXT} tokens, {MICRO} sequences a micro-batch"


def llama(layers: int, hidden: int, ffn: int, heads: int, kv_heads: int, head_dim: int) -> LlamaModel:
    """A Llama of a small vocabulary."""
    return LlamaModel(
        family="llama", layers=layers, hidden=hidden, ffn=ffn, heads=heads, kv_heads=kv_heads, head_dim=head_dim,
        vocab=VOCAB, norm_eps=1e-5, tied=False, init_std=0.02,
    )  # fmt: skip


TINY = llama(2, 64, 176, 4, 2, 16)
MIDDLE = llama(4, 128, 352, 4, 2, 32)
SMALL = llama(8, 320, 864, 5, 5, 64)


def run() -> list[Comparison]:
    torch.set_num_threads(1)
    return [one(TINY, 15), one(MIDDLE, 7), one(SMALL, 3)]


def one(model: LlamaModel, repetitions: int) -> Comparison:
    """One size of model."""
    made = stage(model)
    each = f"{parameters(model).total / 1e6:.1f}M parameters, {EACH}, one thread"
    return compare("training step", each, lambda: ours(made), lambda: plain(made), repetitions)


def ours(stage: Stage, ranks: Ranks = ALONE) -> None:
    """Train through the harness, on one rank or as one of several."""
    modules = build(stage)
    if stage.optimizer is None:
        raise ValueError("the benchmark's stage has an optimizer")
    optimizer = Optimizer(stage.optimizer, trained_slots(modules, stage.trained, stage.optimizer), ranks)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            Table(folder / "metrics.csv", metrics.COMMON, None) as rows,
            Table(folder / "timing.csv", metrics.TIMING, None) as timing,
        ):
            run = Run(stage, rows, timing, Unwritten(), StopRequest(), no_checkpoint, lambda: None, list, ranks)
            objective = Causal(stage, stage.phases[0], modules, _samples, torch.device("cpu"), ranks)
            run_phase(run, stage.phases[0], Replicated(optimizer, objective, ranks), Counters(0, 0, 0, 0, 0, 0))


def plain(stage: Stage, ranks: Ranks = ALONE) -> None:
    """Train as one writes it by hand: gradients accumulated in place, by DistributedDataParallel on several ranks."""
    model = build(stage)["llm"]
    whole = _Whole(model)
    parallel: nn.Module = nn.parallel.DistributedDataParallel(whole) if ranks.size > 1 else whole
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    mine = SEQUENCES // ranks.size
    for step in range(STEPS):
        samples = _samples(step * SEQUENCES + ranks.rank * mine, mine, 0)
        total = 0.0
        for start in range(0, mine, MICRO):
            part = samples[start : start + MICRO]
            tokens, labels, positions = (
                torch.from_numpy(np.stack([getattr(sample, name) for sample in part])).long()
                for name in ("tokens", "labels", "positions")
            )
            last = start + MICRO >= mine
            with nullcontext() if last or ranks.size == 1 else parallel.no_sync():
                logits = parallel(tokens, positions)
                loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
                loss = loss / (mine * CONTEXT)  # DistributedDataParallel takes the mean over ranks
                loss.backward()
            total += loss.item()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


class _Whole(nn.Module):
    """Model and head as one module, as DistributedDataParallel wants them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        return self.model.logits(self.model(tokens, positions, None, None))


def made_up(first: int, count: int, vocab: int, context: int) -> list[Sample]:
    """Rows without a corpus, of any tokens."""
    found = []
    for number in range(first, first + count):
        tokens = (np.arange(context + 1, dtype=np.int64) * (number + 3)) % vocab
        positions, segments = np.arange(context, dtype=np.int64), np.zeros(context, dtype=np.int32)
        found.append(Sample(tokens[:-1], tokens[1:], segments, positions, (), ()))
    return found


def _samples(first: int, count: int, _tail: int) -> list[Sample]:
    return made_up(first, count, VOCAB, CONTEXT)


def no_checkpoint(_counters: Counters, _wait: bool) -> Path:
    """For a run that is to write none."""
    raise AssertionError("the benchmark's stage is shorter than its checkpoint interval")


def stage(model: LlamaModel = MIDDLE) -> Stage:
    """Next-token prediction, one constant learning rate."""
    phase = Phase(
        name="main", objective="next_token", unit="tokens", budget=BUDGET, clock_start=0, context=CONTEXT,
        batch=(BatchStep(after=0, sequences=SEQUENCES),), micro_batch=MICRO, epochs=1, document_mask=False,
        packing="concatenate", sources=(), share=None, loops=None, router=None, coca=None,
    )  # fmt: skip
    constant = Piece(start=0, end=BUDGET, shape="constant", first=LR, last=LR, p0=(0, 1), p1=(1, 1))
    init = Init(weights="fresh", parent=None, release=None, optimizer="reset", layer_map=None, stand_in=False)
    return Stage(
        pipeline="benchmark", name="step", box="Step", scale="benchmark", kind="train", engine_class="torch-fp32",
        seed=1, parents=(), modules={"llm": model}, init={"llm": init}, trained=("llm",), clock="reset", data="restart",
        tokenizer="0" * 64, rope=Rope(base=10_000.0, llama3=None, interpolation=1.0),
        optimizer=AdamW(kind="adamw", beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, decay="all", clip=1.0),
        schedule=Schedule(name="constant", pieces=(constant,)), phases=(phase,),
        evaluation=Evaluation(names=(), context=CONTEXT, old_context=None, samples=0),
        execution=Execution(
            engine="torch", device="cpu", threads=1, ranks=1, nodes=1, memory_mb=1024, time_limit_min=10,
            checkpoint_every=STEPS + 1, keep_partials=1, activations="kept", determinism="exact", parallel=None,
        ),
        max_context=CONTEXT,
    )  # fmt: skip


if __name__ == "__main__":
    show(run())
