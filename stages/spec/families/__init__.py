"""The families of language models, one file each: every module of this package that declares one is in FAMILIES."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from inspect import isclass
from pkgutil import iter_modules
from types import ModuleType
from typing import get_args

from stages.spec.language_model import LanguageModel


def declared(modules: Iterable[ModuleType]) -> dict[str, type[LanguageModel]]:
    """The families that modules declare, by name. Raises ImportError where two declare one, as a copy does."""
    found: dict[str, type[LanguageModel]] = {}
    for module in modules:
        for one in vars(module).values():
            if isclass(one) and issubclass(one, LanguageModel) and "family" in one.model_fields:
                (name,) = get_args(one.model_fields["family"].annotation)
                if (other := found.setdefault(name, one)) is not one:
                    raise ImportError(
                        f"{one.__module__}: family: found {name!r}, which {other.__module__} declares; allowed: a name "
                        "of its own. Change the Literal of one of them."
                    )
    return found


FAMILIES = declared(import_module(f"{__name__}.{name}") for name in sorted(one.name for one in iter_modules(__path__)))
