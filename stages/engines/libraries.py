"""Which of NVIDIA's libraries compute on a GPU, for the environment's fingerprint: their versions decide bits."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

# Packages that kernels are compiled by, or of, when a stage runs. PyTorch and FlashAttention 4 do not refuse another
# version that a user installs.
COMPILERS = ("triton", "pytorch-triton", "quack-kernels")
MAPS = Path("/proc/self/maps")  # proc_pid_maps(5): files that this process has mapped, links followed
# What torch's CUDA library is linked against, and so loads at once. cuDNN's own parts follow when they are needed.
COMPUTING = re.compile(r"lib(cublas|cublasLt|cudnn|nccl)\.so(\.\d+)*")


def installed() -> dict[str, str]:
    """NVIDIA's packages and COMPILERS, with their versions; a package that was left half removed has no name."""
    names = {name: one.version for one in metadata.distributions() if (name := (one.metadata["Name"] or "").lower())}
    return {name: names[name] for name in sorted(names) if name.startswith("nvidia-") or name in COMPILERS}


def loaded(maps: Path = MAPS) -> list[str]:
    """The names of libraries that this process has from outside of Python's packages; they end with their versions.

    Those of a container are, and those of a cluster's module: LD_LIBRARY_PATH goes before torch's own packages
    (ld.so(8): RUNPATH). Empty where the system does not list what is mapped.
    """
    if not maps.is_file():
        return []
    packages = [Path(entry).resolve() for entry in sys.path if entry]
    lines = [line.split(maxsplit=5) for line in maps.read_text(encoding="utf-8", errors="replace").splitlines()]
    files = {Path(line[5]) for line in lines if len(line) == 6}
    return sorted(
        {
            file.name
            for file in files
            if COMPUTING.fullmatch(file.name) and not any(file.is_relative_to(package) for package in packages)
        }
    )
