"""Which packages the code needs that runs on the device machine, and which of them such a machine may lack.

tests/unit/device/test_needs.py compares both lists with what that code imports. Nothing but the standard library is
imported here: this is what says that the rest is missing.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

# Importable names that a Python installation made for PyTorch work has.
USUAL = (
    "torch", "numpy", "safetensors", "tokenizers", "pandas", "yaml", "psutil", "filelock", "rich", "typer",
    "matplotlib", "sklearn", "pytest", "xdist", "hypothesis", "jinja2", "markupsafe",
)  # fmt: skip

# What alternatives are made of: where one is absent, its rows say so.
ALTERNATIVES = ("transformers", "accelerate", "torchtitan", "apex", "flash_attn")

# Importable name -> package. `make device-packages` fetches these at the versions of constraints.txt.
CARRIED = {
    "pydantic": "pydantic",
    "pydantic_core": "pydantic_core",
    "annotated_types": "annotated-types",
    "typing_inspection": "typing-inspection",
    "blake3": "blake3",
}

# Package -> version: torchtitan of the time of PyTorch 2.11, and what a machine for PyTorch work may lack of its needs.
# `make device-packages` fetches these too.
TITAN = {
    "torchtitan": "0.2.2", "torchdata": "0.11.0", "datasets": "5.2.0", "dill": "0.4.1", "multiprocess": "0.70.19",
    "tyro": "1.0.17", "docstring-parser": "0.18.0", "typeguard": "4.6.1",
}  # fmt: skip

# Package -> version: FlashAttention 4 and its compiler, which `make device-attention` fetches.
ATTENTION = {
    "flash-attn-4": "4.0.0b36", "nvidia-cutlass-dsl": "4.8.1", "nvidia-cutlass-dsl-libs-base": "4.8.1",
    "nvidia-cutlass-dsl-libs-core": "4.8.1", "nvidia-cutlass-dsl-libs-cu13": "4.8.1", "quack-kernels": "0.6.5",
    "apache-tvm-ffi": "0.1.15.post2", "torch-c-dlpack-ext": "0.1.5", "einops": "0.8.2",
}  # fmt: skip


def missing() -> list[str]:
    """Importable names that are not here."""
    return [name for name in (*USUAL, *CARRIED) if find_spec(name) is None]


if __name__ == "__main__":
    carried = [*CARRIED.values(), *map("==".join, TITAN.items())]
    print(*(carried if sys.argv[1:] != ["attention"] else map("==".join, ATTENTION.items())))
