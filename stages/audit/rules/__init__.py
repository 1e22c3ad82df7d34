"""The kinds of finding: every module registers its rules as it is imported, which all are with the package."""

from importlib import import_module
from pkgutil import iter_modules

MODULES = tuple(import_module(f"{__name__}.{one.name}") for one in iter_modules(__path__))
