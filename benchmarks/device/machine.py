"""What the record says of the machine that it was made on."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterator

import torch

from stages.models import ops
from stages.models.ops.backend import Device
from stages.store.fingerprint import fingerprint, version

PACKAGES = ("transformers", "accelerate", "triton", "flash-attn", "torchtitan", "numpy", "safetensors")


def lines(device: Device, commit: str) -> Iterator[str]:
    """Facts, one a line: commit, device, driver, versions."""
    found = fingerprint()
    yield f"- commit {commit}, code {found['code']} (digest of what computes a result)"
    if device == "cuda":
        about = torch.cuda.get_device_properties(0)
        yield (
            f"- {about.name}, {about.total_memory / 2**30:.1f} GiB, compute capability {about.major}.{about.minor}, "
            f"driver {driver()}; one of {torch.cuda.device_count()} here"
        )
        yield f"- CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, NCCL {nccl()}"
    yield f"- {found['cpu_model']}, {found['threads']} threads, {platform.platform()}"
    yield f"- Python {found['python']}, torch {torch.__version__} ({found['torch']})"
    yield "- " + ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    yield "- kernels: " + ", ".join(f"{name} {whose}" for name, whose in ops.describe(device).items())


def driver() -> str:
    """The driver's version, from the tool that comes with it."""
    if shutil.which("nvidia-smi") is None:
        return "unknown (no nvidia-smi)"
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"unknown ({type(error).__name__} from nvidia-smi)"
    return done.stdout.strip().partition("\n")[0] or "unknown"


def nccl() -> str:
    """NCCL's version, where torch was built with it."""
    if not torch.distributed.is_nccl_available():
        return "absent"
    return ".".join(map(str, torch.cuda.nccl.version()))
