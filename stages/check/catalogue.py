"""All invariants in one place, by id. Importing it registers every family."""

from __future__ import annotations

from stages.check import (  # noqa: F401
    conversion,
    data,
    execution,
    layouts,
    learning_rate,
    lineage,
    masks,
    moments,
    optimizer,
    orchestration,
    pictures,
    pieces,
    pipeline,
    releases,
    rope,
    schedule,
    settings,
    shapes,
    siblings,
    stand_ins,
    tokenizer,
    tokens,
    unknown,
    unused,
)
from stages.check.registry import REGISTRY, Invariant
from stages.errors import UsageError
from stages.spec.validate import hint


def ordered(prefix: str = "") -> list[Invariant]:
    """Every invariant whose id begins with `prefix`, by id."""
    return [REGISTRY[id] for id in sorted(REGISTRY) if id.startswith(prefix)]


def get(id: str) -> Invariant | None:
    """An invariant by its id, None where there is none."""
    return REGISTRY.get(id)


def find(id: str) -> Invariant:
    """An invariant by its id. Raises UsageError for unknown ones."""
    if id not in REGISTRY:
        raise UsageError(f"unknown invariant {id!r}; there are {', '.join(sorted(REGISTRY))}. {hint(id, REGISTRY)}")
    return REGISTRY[id]
