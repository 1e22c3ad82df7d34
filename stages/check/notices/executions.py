"""Jobs that no cluster starts: a time limit in hours that was meant in minutes, more memory than any node has."""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.notices.full_size import contexts
from stages.spec.project import Project

LONGEST = 31 * 24 * 60  # minutes: partitions have limits of hours or days
LARGEST = 8_000_000  # MB: nodes of eight GPUs have 1 to 4 TB


def unheard_of(project: Project, scale: str) -> Iterator[str]:
    """A notice for each stage at full size that asks for a job of more than a month, or a node of more than 8 TB."""
    for context in contexts(project, scale):
        for name, stage in context.own:
            execution = stage.execution
            if execution.time_limit_min > LONGEST:
                where = context.where_execution(name, ("time_limit",))
                yield (
                    f"{where}: {name} has a time limit of {execution.time_limit_min / 60:,.0f} h a job; a killed job "
                    "goes on from its checkpoint, and partitions allow hours or days."
                )
            if execution.memory_mb > LARGEST:
                where = context.where_execution(name, ("memory",))
                asked = f"{execution.memory_mb / 10**6:,.0f} TB a node"
                yield f"{where}: {name} asks for {asked}; nodes of eight GPUs have 1 to 4 TB."
