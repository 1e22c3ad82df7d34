"""Optional packages that Megatron imports at module level and a language-model run never calls.

NVIDIA's container has them; an environment made from the pins of this project has not. While Megatron is imported,
names that are missing resolve to empty modules; afterwards those are removed again, so that Megatron's own checks for
what is installed (TransformerEngine, Apex, modelopt) find the truth.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
import warnings
from contextlib import suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from stages.printable import printable

OPTIONAL = (
    "comet_ml",
    "IPython",
    "megatron.energon",
    "mlflow",
    "modelopt",
    "nvidia_resiliency_ext",
    "transformer_engine",
    "transformer_engine_torch",
    "wandb",
    "webdataset",
)
# Core's own check for TransformerEngine comes first: while it runs, nothing is put in anybody's place.
FIRST = ("megatron.core.extensions.transformer_engine", "megatron.core.models.gpt", "megatron.core.optimizer")
THEN = ("megatron.bridge", "megatron.bridge.training.config", "megatron.bridge.training.optim")


BESIDE = ("apex", "flash_attn", *OPTIONAL)  # of which Megatron uses what is installed


class Called(RuntimeError):  # noqa: N818
    """Something of a package that is not installed was called after all."""


class _EmptyClass(type):
    """A class every attribute of which is such a class again."""

    def __getattr__(cls, name: str) -> Any:
        return _made(cls.__qualname__, name)


def _made(owner: str, name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)

    def refuse(self: object, *_: object, **__: object) -> None:
        raise Called(f"{owner}.{name} is not installed here")

    return _EmptyClass(name, (), {"__init__": refuse, "__qualname__": f"{owner}.{name}"})


class _Empty(ModuleType):
    """A module in which every name is a class without content."""

    __version__ = "0.0.0"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        return _made(self.__name__, name)


class _Finder(MetaPathFinder, Loader):
    """Last on the path: a package that is installed wins."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if any(name == one or name.startswith(f"{one}.") for one in OPTIONAL):
            return ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is in it."""


def refusal(error: ImportError | OSError) -> str:
    """What an import that failed says to a user: which package it is, and what to do."""
    reason = printable(" ".join(str(error).split()))
    files = [frame.filename for frame in reversed(traceback.extract_tb(error.__traceback__))]
    broken = next((name for file in files for name in BESIDE if f"/{name.replace('.', '/')}/" in file), None)
    if broken is None and isinstance(error, OSError):
        return (
            f"Megatron is installed and cannot be loaded ({reason}); allowed: libraries for this machine, and folders "
            "for caches that can be written to. Correct the environment variable that names the path."
        )
    if broken is None:
        return f"{reason}. `make nemo` makes an environment that has it."
    return (
        f"{broken} is installed and cannot be loaded ({reason}); allowed: a build for this torch and CUDA, or none, "
        "without which Megatron computes too. Install it again, or uninstall it."
    )


def imported() -> None:
    """Import Megatron-Core and Megatron-Bridge, with what is missing left empty. Raises ModuleNotFoundError without
    Megatron itself.
    """
    if all(name in sys.modules for name in (*FIRST, *THEN)):
        return
    finder = _Finder()
    level = logging.root.manager.disable
    os.environ["NO_VCS_VERSION"] = "1"  # both would call git, and put the project's commit behind their own version
    logging.disable(logging.WARNING)  # Bridge prints a traceback for each package that it does not find
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as both warn of each
            for name in FIRST:
                importlib.import_module(name)
            sys.meta_path.append(finder)
            for name in THEN:
                importlib.import_module(name)
    finally:
        logging.disable(level)
        with suppress(ValueError):
            sys.meta_path.remove(finder)
        logging.getLogger("megatron").setLevel(logging.ERROR)  # of what will be dropped some day, at each start
        for name in [name for name, module in sys.modules.items() if isinstance(module, _Empty)]:
            del sys.modules[name]
