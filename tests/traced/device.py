"""A device of type "cuda" without CUDA (device.cpp): compiled, and loaded into a process before torch is."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

SOURCE = Path(__file__).with_name("device.cpp")


def compiler() -> str | None:
    """The C++ compiler of this machine."""
    return shutil.which(os.environ.get("CXX", "c++"))


def compiled(folder: Path) -> Path:
    """The library, made in `folder` for the torch that this interpreter has."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        raise RuntimeError("there is no torch here")
    torch, made = Path(spec.origin).parent, folder / "device.so"
    command = [compiler() or "c++", "-std=c++20", "-O0", "-shared", "-fPIC", f"-I{torch / 'include'}", str(SOURCE)]
    command += ["-o", str(made), f"-L{torch / 'lib'}", f"-Wl,-rpath,{torch / 'lib'}", "-lc10", "-ltorch_cpu"]
    subprocess.run(command, check=True)
    return made


def load(library: Path) -> None:
    """Into this process, which has not imported torch yet."""
    there = ctypes.CDLL(str(library))
    import torch  # noqa: F401

    there.install()
