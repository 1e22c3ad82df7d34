"""Which kernels an operation runs on: NVIDIA Apex where its extensions are installed, torch's fused ones otherwise.

NVIDIA Apex (github.com/NVIDIA/apex) is built from source (`make apex`). The package named `apex` on PyPI is another
project, a toolkit for the Pyramid web framework: finding the name is not finding the kernels. On CPUs every operation
has a plain form.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Literal

from stages.errors import page

Device = Literal["cpu", "cuda"]

# Operation -> the module of Apex that is called, and the compiled extension without which that module cannot run.
KERNELS = {
    "rms_norm": ("apex.normalization.fused_layer_norm", "fused_layer_norm_cuda"),
    "cross_entropy": ("apex.contrib.xentropy", "xentropy_cuda"),
    "adamw": ("amp_C", "amp_C"),
    "global_norm": ("amp_C", "amp_C"),
    "scale": ("amp_C", "amp_C"),
}


@cache
def apex(operation: str) -> ModuleType | None:
    """The module of NVIDIA Apex for an operation of KERNELS, or None where it is not installed."""
    module, extension = KERNELS[operation]
    if not _is_nvidias(_folder()) or find_spec(extension) is None:
        return None
    return importlib.import_module(module)


def other_apex() -> Path | None:
    """The folder of an installed package called apex that is not NVIDIA's."""
    folder = _folder()
    return None if folder is None or _is_nvidias(folder) else folder


def refusal(folder: Path) -> str:
    """What to say of such a package."""
    return (
        f"{folder} is a package called apex, but not NVIDIA Apex: PyPI's apex is an unrelated project. Remove it "
        "(`pip uninstall apex`), and build NVIDIA's with `make apex` if you want its kernels "
        f"({page('on-gpus')})."
    )


def describe(device: Device) -> Mapping[str, str]:
    """Operation -> implementation that tensors on this device go through: "apex", "torch" or "plain"."""
    if device == "cpu":
        return dict.fromkeys(KERNELS, "plain")
    return {operation: "torch" if apex(operation) is None else "apex" for operation in KERNELS}


def _folder() -> Path | None:
    """Where the package called apex is; it is not imported, since it may be anything."""
    spec = find_spec("apex")
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or ())
    return Path(places[0]) if places else Path(spec.origin or "apex")


def _is_nvidias(folder: Path | None) -> bool:
    return folder is not None and (folder / "normalization" / "fused_layer_norm.py").is_file()
