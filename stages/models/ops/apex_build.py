"""Build NVIDIA's Apex from a folder of its sources: `make apex APEX_SRC=folder`.

Only the extensions that `stages.models.ops` calls are compiled, for this machine's GPU alone: all of them for every
architecture take an hour. Apex's own setup.py is run, with its own sources and compiler flags; what it would build
besides is left out (`stages.models.ops.apex_setup`). The wheel is then installed into the interpreter that runs this.

Apex has had no release since 25.09 (September 2025); its API as of commit TESTED is what this project calls. There, the
three extensions were compiled against torch 2.11 with CUDA 13.0 and ran on an H200.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from stages.errors import UserError
from stages.models.ops import backend

TESTED = "6424da3b4faa6c8f062da4a48c424fff3f02d42d"  # 2026-07-08
USED = ("amp_C", "fused_layer_norm_cuda", "xentropy_cuda")
FLAGS = {"APEX_CUDA_EXT": "1", "APEX_XENTROPY": "1"}  # the switches of Apex's setup.py that build USED
# Files that tell NVIDIA's Apex from anything else of that name, and that contain what is called.
OWN = (
    "setup.py", "csrc/multi_tensor_adam.cu", "csrc/multi_tensor_l2norm_kernel.cu", "csrc/layer_norm_cuda_kernel.cu",
    "apex/contrib/csrc/xentropy/xentropy_kernel.cu", "apex/normalization/fused_layer_norm.py",
)  # fmt: skip


def build(source: Path, arch: str | None, into: Path | None) -> None:
    """Compile and install, into the folder `into` if there is one. Raises UserError where something is missing."""
    check_source(source)
    if into is None and (other := backend.other_apex()):
        raise UserError(backend.refusal(other))
    home, arch = toolkit(), arch or architecture()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = [
            "egg_info", "--egg-base", name, "build", "--build-base", str(folder / "build"),
            "bdist_wheel", "--skip-build", "--bdist-dir", str(folder / "wheel"), "--dist-dir", str(folder / "dist"),
        ]  # fmt: skip
        environ = os.environ | FLAGS | {"TORCH_CUDA_ARCH_LIST": arch, "CUDA_HOME": str(home)}
        # Python's own compiler flags ask for debug information: 38 MB of it, and 9 MB of code.
        environ["LDFLAGS"] = f"{os.environ.get('LDFLAGS', '')} -Wl,--strip-debug".strip()
        ours = str(Path(__file__).resolve().parents[3])
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, (ours, os.environ.get("PYTHONPATH"))))
        print(f"apex: compiling {', '.join(USED)} for compute capability {arch} with {home}/bin/nvcc", flush=True)
        run([sys.executable, "-m", "stages.models.ops.apex_setup", *words], source, environ)
        (wheel,) = (folder / "dist").glob("apex-*.whl")
        place = ["--target", str(into), "--upgrade"] if into is not None else ["--force-reinstall"]
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", *place, str(wheel)]
        run(install, source, dict(os.environ))
    print(f"apex: installed into {into or sys.prefix}")


def check_source(source: Path) -> None:
    """Raise UserError unless the folder contains NVIDIA's Apex."""
    if not source.is_dir():
        raise UserError(f"APEX_SRC: {source} is no folder. Name a checkout of github.com/NVIDIA/apex.")
    missing = [name for name in OWN if not (source / name).is_file()]
    if missing:
        raise UserError(
            f"APEX_SRC: {source} is not NVIDIA's Apex: it has no {missing[0]}. Name a checkout of "
            f"github.com/NVIDIA/apex, commit {TESTED[:12]}; the package `apex` of PyPI is another project."
        )


def toolkit() -> Path:
    """The CUDA toolkit, of the release that torch was built with (Apex refuses any other)."""
    import torch
    from torch.utils.cpp_extension import CUDA_HOME

    if torch.version.cuda is None:
        raise UserError(f"torch {torch.__version__} is built without CUDA: Apex's kernels need one that is.")
    wanted = f"CUDA toolkit {torch.version.cuda}, the release that torch {torch.__version__} was built with"
    if CUDA_HOME is None or not (Path(CUDA_HOME) / "bin/nvcc").is_file():
        raise UserError(f"found no nvcc; needed: {wanted}. Install it, or set CUDA_HOME to its folder.")
    version = subprocess.run([f"{CUDA_HOME}/bin/nvcc", "-V"], capture_output=True, text=True, check=True).stdout
    release = re.search(r"release ([\d.]+)", version)
    if release is None or release[1] != torch.version.cuda:
        raise UserError(f"{CUDA_HOME} is release {release[1] if release else 'unknown'}; needed: {wanted}.")
    return Path(CUDA_HOME)


def architecture() -> str:
    """This machine's GPU as TORCH_CUDA_ARCH_LIST writes it."""
    import torch

    if not torch.cuda.is_available():
        raise UserError("found no GPU here: name the compute capability to build for, such as APEX_ARCH=9.0 (H100).")
    return ".".join(map(str, torch.cuda.get_device_capability()))


def run(command: Sequence[str], folder: Path, environ: dict[str, str]) -> None:
    """Run a command; raise UserError with what it is where it fails, after what it printed itself."""
    done = subprocess.run(command, cwd=folder, env=environ, check=False)
    if done.returncode:
        raise UserError(f"apex: `{' '.join(command[:4])} ...` in {folder} failed with exit code {done.returncode}.")


def main(words: Sequence[str]) -> int:
    """The command behind `make apex`."""
    parser = argparse.ArgumentParser(prog="apex_build", description="Build NVIDIA's Apex from a folder of its sources.")
    parser.add_argument("source", type=Path, help="a checkout of github.com/NVIDIA/apex")
    parser.add_argument("--arch", help="compute capability, such as 9.0; this machine's GPU's if not named")
    parser.add_argument("--into", type=Path, help="a folder to install into, instead of this interpreter")
    options = parser.parse_args(words)
    try:
        build(options.source.resolve(), options.arch, options.into.resolve() if options.into else None)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
