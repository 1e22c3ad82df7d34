"""Which fused kernels this machine has.

NVIDIA Apex (github.com/NVIDIA/apex) is built from source. The package named `apex` on PyPI is another project (a
toolkit for the Pyramid web framework), so finding the name is not finding the kernels.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from types import ModuleType


def _module(name: str) -> ModuleType | None:
    """The module called name, or None where it or one of its parents is not installed."""
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    return importlib.import_module(name) if found is not None else None


@cache
def apex(name: str) -> ModuleType | None:
    """A module of NVIDIA Apex such as "apex.normalization", or None where Apex is absent or another project."""
    return _module(name)


def describe() -> str:
    """One line for run.json and for people: whose kernels CUDA tensors go through here."""
    if importlib.util.find_spec("apex") is None:
        return "torch"
    if apex("apex.normalization") is None:
        return "torch (a package called apex is installed, but it is PyPI's unrelated project and not NVIDIA Apex)"
    return "NVIDIA Apex for RMSNorm and cross entropy (never executed on a GPU by this project), torch for the rest"
