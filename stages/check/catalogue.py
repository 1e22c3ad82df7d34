"""All invariants in one place, by id: every module of check.rules registers its own as it is imported."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from stages.check import rules
from stages.check.registry import REGISTRY, Invariant
from stages.errors import UsageError
from stages.spec.validate import hint

for _one in iter_modules(rules.__path__):
    import_module(f"{rules.__name__}.{_one.name}")


def ordered(prefix: str = "") -> list[Invariant]:
    """Every invariant whose id begins with `prefix`, by id."""
    return [REGISTRY[id] for id in sorted(REGISTRY) if id.startswith(prefix)]


def get(id: str) -> Invariant | None:
    """An invariant by its id, None where there is none."""
    return REGISTRY.get(id)


def find(id: str) -> Invariant:
    """An invariant by its id. Raises UsageError for unknown ones."""
    if id not in REGISTRY:
        raise UsageError(
            f"unknown invariant {id!r}; there are {', '.join(sorted(REGISTRY))}. {hint(_with_two_digits(id), REGISTRY)}"
        )
    return REGISTRY[id]


def _with_two_digits(id: str) -> str:
    """An id as it would be written here: I-04 for i-4 and I-004."""
    letter, _, number = id.upper().partition("-")
    return f"{letter}-{int(number):02}" if number.isdecimal() else id.upper()
