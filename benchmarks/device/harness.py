"""Steps of the harness on a model of any size, with rows made up from their numbers: the loop that a stage runs in."""

from __future__ import annotations

import csv
import resource
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks import step
from stages.contract import cost
from stages.data.loading.sample import Sample
from stages.models.build import make
from stages.models.layers import recompute
from stages.spec.families.llama import LlamaModel
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import BatchStep
from stages.spec.resolved_training import Piece, Schedule
from stages.train import metrics
from stages.train.checkpoint import Counters
from stages.train.determinism import deterministic
from stages.train.loop import Run, run_phase
from stages.train.metrics import Table, Unwritten
from stages.train.objectives.causal import Causal
from stages.train.optimizer import Optimizer
from stages.train.param_groups import trained_slots
from stages.train.replicated import Replicated
from stages.train.stopping import StopRequest

WARM = 2  # steps that are not counted
RATE = 1e-4


@dataclass(frozen=True)
class Work:
    """One configuration: a model, rows of `context` tokens in micro-batches, and whether layers are recomputed."""

    name: str
    model: LlamaModel
    context: int
    micro_batch: int
    accumulate: int
    recomputed: bool
    steps: int
    bf16: bool = True  # else fp32 throughout

    @property
    def tokens(self) -> int:
        """Of a step."""
        return self.context * self.micro_batch * self.accumulate

    @property
    def setting(self) -> str:
        """In words, for the table."""
        precision = "bf16" if self.bf16 else "fp32"
        kept = "layers recomputed" if self.recomputed else "activations kept"
        return f"{self.context:,} positions, {self.micro_batch} x {self.accumulate} rows a step, {precision}, {kept}"

    @property
    def flops(self) -> float:
        """Of a token, forward and backward (docs/plan-and-diff.md): no recomputation, half of the causal square."""
        return cost.language_model(self.model, self.context).flops(trained=True, gradient=True)


@dataclass(frozen=True)
class Ran:
    """What a run took: median seconds of a step, and the most bytes that torch had allocated and reserved."""

    seconds: float
    allocated: int
    reserved: int


def stage(work: Work, device: str, exact: bool = True) -> Stage:
    """The configuration as a stage: next-token prediction, AdamW, one constant learning rate."""
    made = step.stage()
    budget = work.tokens * work.steps
    phase = made.phases[0].model_copy(
        update={
            "budget": budget,
            "context": work.context,
            "batch": (BatchStep(after=0, sequences=work.micro_batch * work.accumulate),),
            "micro_batch": work.micro_batch,
        }
    )
    constant = Piece(start=0, end=budget, shape="constant", first=RATE, last=RATE, p0=(0, 1), p1=(1, 1))
    execution = made.execution.model_copy(
        update={
            "device": device,
            "threads": torch.get_num_threads(),
            "checkpoint_every": work.steps + 1,
            "activations": "recomputed" if work.recomputed else "kept",
            "determinism": "exact" if exact else "fast",
        }
    )
    return made.model_copy(
        update={
            "modules": {"llm": work.model},
            "engine_class": "torch-bf16" if work.bf16 else "torch-fp32",
            "phases": (phase,),
            "schedule": Schedule(name="constant", pieces=(constant,)),
            "execution": execution,
            "max_context": work.context,
        }
    )


def train(work: Work, device: torch.device, exact: bool = True) -> Ran:
    """Train for its steps through the harness's loop, with deterministic kernels or any, as the engine does."""
    made = stage(work, device.type, exact)
    with deterministic(made.execution), tempfile.TemporaryDirectory() as name:
        reset(device)
        language_model = drawn(make(work.model, made.rope, device.type), work.model.init_std)
        modules = nn.ModuleDict({"llm": language_model})
        recompute(modules, made.execution.recomputes)
        if made.optimizer is None:
            raise ValueError("the benchmark's stage has an optimizer")
        optimizer = Optimizer(made.optimizer, trained_slots(modules, made.trained, made.optimizer))
        rows, timing = Path(name) / "metrics.csv", Path(name) / "timing.csv"
        with Table(rows, metrics.COMMON, None) as table, Table(timing, metrics.TIMING, None) as times:
            run = Run(made, table, times, Unwritten(), StopRequest(), step.no_checkpoint, lambda: None, list)
            objective = Causal(made, made.phases[0], modules, Read(work), device)
            run_phase(run, made.phases[0], Replicated(optimizer, objective), Counters(0, 0, 0, 0, 0, 0))
        with timing.open() as file:
            seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    return Ran(statistics.median(seconds[WARM:]), *peak(device))


def drawn(module: nn.Module, std: float) -> nn.Module:
    """Matrices drawn on the device: a stage's own are drawn on the host, each from its seed, which takes a while."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, std)
    return module


class Read:
    """Rows as `PhaseData.samples` gives them, of random tokens."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, first: int, count: int, _tail: int) -> list[Sample]:
        return [self._row(number) for number in range(first, first + count)]

    def _row(self, number: int) -> Sample:
        length = self.work.context
        tokens = np.random.default_rng(number).integers(0, self.work.model.vocab, length + 1)
        positions, segments = np.arange(length, dtype=np.int64), np.zeros(length, dtype=np.int32)
        return Sample(tokens[:-1], tokens[1:], segments, positions, (), ())


def reset(device: torch.device) -> None:
    """Peaks count from here."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak(device: torch.device) -> tuple[int, int]:
    """The most bytes allocated and reserved since `reset`; on a CPU, in a rehearsal, the most the process ever held."""
    if device.type != "cuda":
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,) * 2
    return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()


def allocated(device: torch.device) -> int:
    """Bytes that tensors on a GPU take now."""
    return torch.cuda.memory_allocated() if device.type == "cuda" else 0


def now(device: torch.device) -> float:
    """The clock, once the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
