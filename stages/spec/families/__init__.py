"""The families of language models, one file each: every module of this package that declares one is in FAMILIES."""

from __future__ import annotations

from importlib import import_module
from inspect import isclass
from pkgutil import iter_modules
from typing import get_args

from stages.spec.language_model import LanguageModel


def _families() -> dict[str, type[LanguageModel]]:
    found: dict[str, type[LanguageModel]] = {}
    for module in sorted(one.name for one in iter_modules(__path__)):
        for one in vars(import_module(f"{__name__}.{module}")).values():
            if isclass(one) and issubclass(one, LanguageModel) and "family" in one.model_fields:
                (name,) = get_args(one.model_fields["family"].annotation)
                found[name] = one
    return found


FAMILIES = _families()
