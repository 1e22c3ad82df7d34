"""Pipelines at full size, for notices that compare stages of a lineage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from stages.check.context import Context
from stages.check.run import make_context
from stages.errors import InvalidSpecs
from stages.spec.project import Project


def contexts(project: Project, scale: str) -> Iterator[Context]:
    """What is known of each pipeline that a scale leaves at its own size."""
    for name in project.pipelines(variants=True):
        with suppress(InvalidSpecs):  # which are findings
            if project.has(name, scale) and project.shrink(name, scale).shrink is None:
                yield make_context(project, name, scale)
