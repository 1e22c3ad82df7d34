"""Which device a rank computes on, and how ranks reach each other.

A rank finds its GPU by LOCAL_RANK, which this engine's launcher and torchrun both set. Gradients and parameters then
travel by NCCL, everything else over the host by gloo. STAGES_SHARE_GPUS=1 lets the ranks of a machine take turns on
fewer GPUs than ranks, which NCCL refuses: all of their traffic then goes over the host. That is slow, and there to try
out on one GPU what several compute. Executed on one GPU (docs/on-gpus.md), never on several.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from stages.engines import device, libraries
from stages.errors import UserError
from stages.models import ops
from stages.models.ops import choice
from stages.spec.resolved import Stage
from stages.spec.resolved_parallel import Engine
from stages.store import fingerprint
from stages.train.ranks import CPU, GLOO, NCCL, Backend, Ranks

SHARE = "STAGES_SHARE_GPUS"  # environment variable: of the machine at hand, so that specs stay those of any machine
NEMO = ("megatron-core", "megatron-bridge", "emerging-optimizers", "transformer-engine", "flash-attn", "apex")
# Operations for which the NeMo engine has Megatron-Core's.
CORES = ("cross_entropy", "adamw", "global_norm", "scale", *choice.FUSED)
ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")  # environment variables; the second is the older name
DRIVER = Path("/sys/module/nvidia/version")


@dataclass(frozen=True)
class Place:
    """A rank's device, and the backend of torch.distributed."""

    device: torch.device
    backend: Backend


def first_here() -> bool:
    """Whether this is the first of this machine's ranks: it reads what all of them would read alike."""
    return int(os.environ.get("LOCAL_RANK", 0)) == 0


def of(stage: Stage) -> Place:
    """This rank's place; a GPU becomes torch's current one. Raises UserError where there are too few GPUs."""
    if stage.kind == "keep":  # points to its parent and computes nothing; its job has no GPU
        return Place(CPU, GLOO)
    if device.of(stage).type == "cpu":
        return Place(CPU, GLOO)
    number, together = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    count, shared = torch.cuda.device_count(), os.environ.get(SHARE, "")
    if shared not in ("", "1"):
        raise UserError(f"environment: {SHARE}={shared}; allowed: 1, or leave it out.")
    if together > count and not shared:
        raise UserError(
            f"{stage.ref}: {together} ranks on this machine, where PyTorch finds {count} "
            f"GPU{'s' * (count != 1)}; allowed: one for each rank. Lower `execution: {{ranks}}`, take more nodes, or "
            f"set {SHARE}=1 to let ranks take turns on a GPU, with the same bits, slowly."
        )
    chosen = torch.device("cuda", number % count)
    _let_segments_grow()
    torch.cuda.set_device(chosen)
    return Place(chosen, GLOO if shared else NCCL)


def _let_segments_grow() -> None:
    """Before CUDA starts: torch's allocator then reserves little more than is used, also where rows differ in length
    (PyTorch's notes on CUDA, memory management). It changes no number; what the user set stays.
    """
    if not any(name in os.environ for name in ALLOCATOR):
        os.environ[ALLOCATOR[0]] = "expandable_segments:True"


def fields(device: torch.device, engine: Engine = "torch") -> dict[str, object] | None:
    """What bits depend on besides the host, for the environment's fingerprint; None for the torch engine on a CPU.

    The number of GPUs is not among them: any power of two computes the same bits. NCCL moves numbers and adds none.
    """
    found = _gpu(device, engine) if device.type != "cpu" else {}
    if engine == "nemo":
        found["engine"] = fingerprint.installed(NEMO)
    return found or None


def environment(device: torch.device, engine: Engine) -> dict[str, object]:
    """The fingerprint of this process with what an engine says of its device, while it computes."""
    return computing(fields(device, engine))


def computing(device: Mapping[str, object] | None) -> dict[str, object]:
    """The same of known `fields`. An engine sets the number of threads: OMP_NUM_THREADS, which Snakemake's rules set
    and a shell does not, says nothing of them.
    """
    return fingerprint.fingerprint(device, torch.get_num_threads())


def kernels(device: Literal["cpu", "cuda"], dtype: torch.dtype, engine: Engine) -> Mapping[str, str]:
    """Operation -> implementation that a stage of this engine computes with.

    Which AdamW and which norm Core has follows from the packages that `fields` lists.
    """
    found = {**ops.describe(device), **choice.describe(device, dtype)}
    return found if engine == "torch" else found | dict.fromkeys(CORES, "megatron-core")


def _gpu(device: torch.device, engine: Engine) -> dict[str, object]:
    found = torch.cuda.get_device_properties(device)
    return {
        "name": found.name,
        "capability": f"{found.major}.{found.minor}",
        "multiprocessors": found.multi_processor_count,
        "cuda": torch.version.cuda,
        "driver": DRIVER.read_text(encoding="ascii").strip() if DRIVER.is_file() else "unknown",
        "cudnn": torch.backends.cudnn.version(),
        "nccl": ".".join(map(str, torch.cuda.nccl.version())) if torch.distributed.is_nccl_available() else None,
        "libraries": libraries.installed(),
        "loaded": libraries.loaded(),
        "kernels": kernels("cuda", torch.bfloat16, engine),
    }


@dataclass(frozen=True)
class Machine:
    """What a run was made on: `fields` of this rank's device for the fingerprint, and, for run.json, where every rank
    computes and what moves its gradients.
    """

    fields: Mapping[str, object] | None
    ranks: Mapping[str, Any]


def machine(ranks: Ranks, engine: Engine = "torch") -> Machine:
    """That of this run. All ranks must call it."""
    name = torch.cuda.get_device_name(ranks.device) if ranks.device.type == "cuda" else "cpu"
    own = {"node": socket.gethostname(), "device": str(ranks.device), "name": name}
    devices: list[Mapping[str, str]] = ranks.values(own)
    crowd = Counter((one["node"], one["device"]) for one in devices if one["device"] != "cpu")
    found = {"devices": devices, "ranks_per_gpu": max(crowd.values(), default=0), "backend": ranks.backend}
    if ranks.device.type == "cuda":
        found["allocator"] = next((os.environ[name] for name in ALLOCATOR if name in os.environ), "")
    return Machine(fields(ranks.device, engine), found)
