"""A checkpoint that is whole or absent and digested, against `safetensors.torch.save_file` + fsync of the same tensors.

Each repetition starts without the files of the one before, and with nothing left for the disk to do: what removing and
writing back earlier files takes would otherwise fall on either side at random. `python -m benchmarks.checkpoint`.

Also the memory that writing takes beside the tensors: the most that the process held, less what it held before, once
for each way in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.timing import Comparison, compare, show
from stages.models import tensor_file
from stages.store import files, partials, trees

SIZES = ((256, 15), (1024, 9))  # MiB, repetitions
LARGEST = 64  # MiB of a tensor


def run() -> list[Comparison]:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:  # the disk that results go to, not a memory file system
        return [_compare(Path(name), size, repetitions) for size, repetitions in SIZES]


def _tensors(size: int) -> dict[str, Tensor]:
    """Of `size` MiB: matrices of `LARGEST`, and a gain beside each as models have it."""
    draw = torch.Generator().manual_seed(1)
    matrices = {f"layers.{i}.weight": torch.rand(LARGEST << 8, 1 << 10, generator=draw) for i in range(size // LARGEST)}
    return matrices | {name.replace("weight", "norm"): matrix[0].clone() for name, matrix in matrices.items()}


def _ours(folder: Path, tensors: dict[str, Tensor]) -> None:
    partials.save(folder / "partial-000000001", lambda place: _write(place / "weights", tensors))


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    files.write(path, tensor_file.blocks(tensors))  # as stages.train.checkpoint does


def _plain(folder: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, folder / "weights")
    with (folder / "weights").open("rb") as file:
        os.fsync(file.fileno())


def _compare(folder: Path, size: int, repetitions: int) -> Comparison:
    tensors = _tensors(size)

    def settle() -> None:
        trees.remove_tree(folder / "partial-000000001")
        (folder / "weights").unlink(missing_ok=True)
        os.sync()

    each = f"{size} MiB to disk, beside them {_extra(folder, 'ours', size)} (plain: {_extra(folder, 'plain', size)})"
    return compare(
        "checkpoint", each, lambda: _ours(folder, tensors), lambda: _plain(folder, tensors), repetitions, settle
    )


def _extra(folder: Path, way: str, size: int) -> str:
    """MiB that one way takes beside tensors of `size` MiB."""
    command = [sys.executable, "-m", "benchmarks.checkpoint", str(folder), way, str(size)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _measure(folder: Path, way: str, size: int) -> str:
    call, tensors = {"ours": _ours, "plain": _plain}[way], _tensors(size)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        call(Path(name), {"warm": torch.zeros(1)})  # what is imported or made once is no matter of size
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again (proc(5))
    before = _status("VmRSS")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        call(Path(name), tensors)
    return f"{max(0.0, _status('VmHWM') - before):.1f} MiB"


def _status(field: str) -> float:
    return int(Path("/proc/self/status").read_text().partition(f"{field}:")[2].split()[0]) / 1024


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(_measure(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
    else:
        show(run())
