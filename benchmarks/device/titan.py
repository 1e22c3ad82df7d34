"""The same model under torchtitan's Trainer: what its authors pre-train with (Liang et al., arXiv 2410.06511).

Its own model, step, optimizer and loss, with its layers and loss compiled (`compile.enable`), as in its published
figures. Rows come from the harness; the clock takes the place of its log.
"""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from benchmarks.device.harness import RATE, WARM, Ran, Read, Work, now, peak, reset
from stages.contract.parameters import parameters

NAME = "torchtitan's Trainer, compiled"  # the record's first lines have its version
RANK = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}


def train(work: Work, device: torch.device) -> Ran:
    """bf16 autocast over fp32 weights, or fp32, fused AdamW, clip at 1: as `harness.train`."""
    reset(device)
    clock = Clock(device)
    # A CPU's number is "cpu" to PyTorch, where torchtitan wants one.
    here = patch.dict(os.environ, RANK), patch.object(torch.cpu, "current_device", lambda: 0)
    with here[0], here[1], tempfile.TemporaryDirectory() as folder:
        try:
            trainer = imported(device)(configuration(work, folder, register(work, clock)))
            check(trainer.model_parts[0], work)
            trainer.train()
            trainer.close()
        finally:
            gc.enable()  # its Trainer turns it off
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()
    return Ran(statistics.median(clock.seconds[WARM:]), *peak(device))


def imported(device: torch.device) -> Any:
    """Its Trainer. It reads at its import which accelerator is there, and takes CUDA where it finds none."""
    with patch.object(torch._utils, "_get_available_device_type", lambda: device.type):
        from torchtitan.train import Trainer
    return Trainer


def check(model: torch.nn.Module, work: Work) -> None:
    """Raises ValueError where it is another model than ours, by the number of its parameters."""
    theirs, ours = sum(one.numel() for one in model.parameters()), parameters(work.model).total
    if theirs != ours:
        raise ValueError(f"torchtitan's model has {theirs:,} parameters, ours {ours:,}")


class Clock:
    """In the place of torchtitan's MetricsProcessor: seconds of every step, by a clock that waits for the device."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.ended = device, 0.0
        self.seconds: list[float] = []
        self.color = SimpleNamespace(blue="", red="", reset="")
        self.data_loading_times: list[float] = []
        self.ntokens_since_last_log = 0
        # Of its log's MFU, and nothing is logged.
        memory = SimpleNamespace(max_reserved_gib=0.0, max_reserved_pct=0.0)
        self.device_memory_monitor = SimpleNamespace(device_name="H100", get_peak_stats=lambda: memory)

    def begin(self) -> None:
        """The first step begins."""
        self.ended = now(self.device)

    def should_log(self, _step: int) -> bool:
        """Asked at the end of every step; nothing is logged."""
        before, self.ended = self.ended, now(self.device)
        self.seconds.append(self.ended - before)
        return False

    def close(self) -> None:
        """Nothing to close."""


class Batches:
    """The harness's rows as torchtitan's dataloader gives them."""

    def __init__(self, work: Work, clock: Clock) -> None:
        self.work, self.read, self.clock = work, Read(work), clock

    def __iter__(self) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        self.clock.begin()
        for number in range(self.work.steps * self.work.accumulate):
            rows = self.read(number * self.work.micro_batch, self.work.micro_batch, 0)
            yield (
                {"input": torch.from_numpy(np.stack([row.tokens for row in rows]))},
                torch.from_numpy(np.stack([row.labels for row in rows])),
            )


def register(work: Work, clock: Clock) -> str:
    """The model's shape and the rows under a name that torchtitan's Trainer finds; returns the name."""
    from torchtitan.models import llama3
    from torchtitan.models.llama3 import TransformerModelArgs
    from torchtitan.protocols.train_spec import register_train_spec

    model = work.model
    shape = TransformerModelArgs(
        dim=model.hidden, n_layers=model.layers, n_heads=model.heads, n_kv_heads=model.kv_heads,
        vocab_size=model.vocab, norm_eps=model.norm_eps, multiple_of=model.ffn, ffn_dim_multiplier=0.5,
    )  # fmt: skip
    spec = llama3.get_train_spec()
    spec.model_cls = tied() if model.tied else spec.model_cls
    spec.model_args = {"shape": shape}
    spec.build_tokenizer_fn = None
    spec.build_dataloader_fn = lambda **_: Batches(work, clock)
    spec.build_metrics_processor_fn = lambda *_: clock
    name = f"benchmark of {work.name}, {work.context}"
    register_train_spec(name, spec)
    return name


def tied() -> type:
    """torchtitan's Llama with one table for the first and the last layer, tied as its Qwen3 is."""
    from torchtitan.models.llama3 import Transformer

    class Tied(Transformer):
        def __init__(self, shape: Any) -> None:
            super().__init__(shape)
            self.tok_embeddings.weight = self.output.weight

        def init_weights(self, buffer_device: torch.device | None = None) -> None:
            self.tok_embeddings.weight = self.output.weight  # `to_empty` has made two
            super().init_weights(buffer_device)

    return Tied


def configuration(work: Work, folder: str, name: str) -> Any:
    """The run in torchtitan's words."""
    from torchtitan.config import JobConfig

    made = JobConfig()
    made.job.dump_folder = folder
    made.model.name, made.model.flavor = name, "shape"
    made.training.local_batch_size = work.micro_batch
    made.training.global_batch_size = work.micro_batch * work.accumulate
    made.training.seq_len, made.training.steps, made.training.max_norm = work.context, work.steps, 1.0
    made.training.mixed_precision_param = "bfloat16" if work.bf16 else "float32"
    made.optimizer.lr, made.optimizer.beta1, made.optimizer.beta2 = RATE, 0.9, 0.95
    made.optimizer.weight_decay = 0.1
    made.lr_scheduler.warmup_steps, made.lr_scheduler.decay_ratio = 0, 0.0
    made.activation_checkpoint.mode = "full" if work.recomputed else "none"
    made.compile.enable = True
    made.comm.trace_buf_size = 0
    return made
