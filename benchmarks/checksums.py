"""The share of a step that its checksums take, and their bytes: `python -m benchmarks.checksums`, one thread.

Miniatures on their corpora (as `make mini` prepares them), and a model of 124M parameters, one step of 4 x 512 tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from benchmarks.step import SEQUENCES, made_up, stage
from stages.data.loading.loader import PhaseData
from stages.data.loading.readers import scope
from stages.data.loading.sample import Sample
from stages.engines.torch_trainer import freeze
from stages.models.build import build
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.store.layout import Layout
from stages.train import objectives
from stages.train.checkpoint import Counters
from stages.train.determinism import denormals_flushed, deterministic
from stages.train.loop import Run, run_phase
from stages.train.metrics import Unwritten
from stages.train.optimizer import Optimizer
from stages.train.param_groups import trained_slots
from stages.train.replicated import Replicated
from stages.train.state_sums import Digests, StateSums
from stages.train.stopping import StoppedError, StopRequest

STEPS = 20
REFS = ("llama31_1m/base", "llama31_1m/sft_32k", "kimi_vl/joint_pretrain", "kimi_vl/vit_coca", "ouro/stable_2_2_6b")


class Watch:
    """Seconds within the functions that it wraps; processor time, as others may use the machine meanwhile."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def over(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            began = time.process_time()
            found = call(*args)
            self.seconds += time.process_time() - began
            return found

        return timed


class Last(Unwritten):
    """Asks for the end after some steps; counts the bytes of what it is given."""

    def __init__(self, steps: int, stop: StopRequest) -> None:
        self.columns, self._left, self._stop, self.bytes = (), steps, stop, 0

    def add(self, row: Any) -> None:
        self._left -= 1
        self.bytes += len(",".join(map(str, row.values()))) + 1
        if not self._left:
            self._stop.ask()


def share(made: Stage, modules: nn.ModuleDict, rows: Any, steps: int) -> str:
    """What `steps` steps of the stage's first phase take with checksums, and the checksums of it."""
    assert made.optimizer is not None
    freeze(made, modules)
    optimizer = Optimizer(made.optimizer, trained_slots(modules, made.trained, made.optimizer))
    sums, watch, digest, stop = StateSums(modules, optimizer, rows), Watch(), Watch(), StopRequest()
    loader = rows.pairs if made.phases[0].objective == "coca" else rows.samples
    read = Watch()
    with (
        mock.patch.object(StateSums, "take", watch.over(StateSums.take)),
        mock.patch.object(Digests, "samples", digest.over(Digests.samples)),
        mock.patch.object(Digests, "pairs", digest.over(Digests.pairs)),
        mock.patch.object(rows, loader.__name__, read.over(loader)),
    ):
        objective = objectives.make(made, made.phases[0], modules, sums.rows, torch.device("cpu"))
        last = Last(steps, stop)
        run = Run(made, Unwritten(), Unwritten(), last, stop, lambda counters, wait: None, lambda: None, list)
        began = time.process_time()
        try:
            clock = made.phases[0].clock_start
            run_phase(run, made.phases[0], Replicated(optimizer, objective, sums=sums), Counters(0, 0, 0, 0, 0, clock))
        except StoppedError:
            pass
        seconds = time.process_time() - began
    own = watch.seconds + digest.seconds - read.seconds
    size = sum(slot.parameter.numel() for slot in optimizer.slots)
    return (
        f"{size:,} trained parameters: {1000 * seconds / steps:,.1f} ms a step, checksums {1000 * own / steps:,.2f} "
        f"ms, {100 * own / seconds:.2f}%; {last.bytes / steps:,.0f} bytes a step"
    )


class Made:
    """Rows without a corpus."""

    def __init__(self, vocab: int, context: int) -> None:
        self.vocab, self.context = vocab, context

    def samples(self, first: int, count: int, tail: int) -> list[Sample]:
        return made_up(first, count, self.vocab, self.context)


def large() -> tuple[Stage, Made]:
    """GPT-2's smallest size as a Llama: 12 layers, 768 wide, 50,304 words, embeddings tied."""
    made, context = stage(), 512
    llama = made.modules["llm"].model_copy(
        update={"layers": 12, "hidden": 768, "ffn": 2048, "heads": 12, "kv_heads": 12, "head_dim": 64,
                "vocab": 50_304, "tied": True}
    )  # fmt: skip
    phase = made.phases[0].model_copy(update={"context": context, "budget": 4 * SEQUENCES * context, "micro_batch": 1})
    batch = (made.phases[0].batch[0].model_copy(update={"sequences": 4}),)
    piece = made.schedule.pieces[0].model_copy(update={"end": phase.budget}) if made.schedule else None
    schedule = made.schedule.model_copy(update={"pieces": (piece,)}) if made.schedule else None
    changes = {"modules": {"llm": llama}, "phases": (phase.model_copy(update={"batch": batch}),), "schedule": schedule}
    return made.model_copy(update={**changes, "max_context": context}), Made(50_304, context)


def main() -> None:
    torch.set_num_threads(1)
    root = Path.cwd()
    project, layout = Project.load(root), Layout(root, "mini")
    for ref in REFS:
        pipeline, name = ref.split("/")
        made = project.resolve(pipeline, "mini").stages[name]
        first = made.phases[0]
        with deterministic(made.execution), denormals_flushed():
            print(f"{ref}, {share(made, build(made), PhaseData(first, made.seed, scope(first), layout.data), STEPS)}")
    made, rows = large()
    with deterministic(made.execution), denormals_flushed():
        print(f"124M, 4 x 512 tokens a step, {share(made, build(made), rows, 1)}", flush=True)


if __name__ == "__main__":
    main()
