"""Points of a trunk that are earlier than what is trained from them asks for: a prefix or a digit that was lost."""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.notices.full_size import contexts
from stages.contract.schedule import piece_from
from stages.spec.project import Project
from stages.spec.resolved import Stage


def early(project: Project, scale: str) -> Iterator[str]:
    """A notice for each stage from a point at which its trunk still warms up, or has read less than the stage does."""
    for context in contexts(project, scale):
        for name, stage in context.own:
            for ref, point in context.parents(stage) if stage.kind == "train" else ():
                trunk = context.by_ref.get(point.trunk or "")
                if trunk is None:
                    continue
                where, length, read = context.where(name, "init", "from"), stage.budget, point.budget
                if context.writes(where) and _rising(trunk, point):
                    yield f"{where}: {name} starts from {ref}, where the rate of {trunk.name} still warms up."
                elif context.writes(where) and length > read:
                    yield f"{where}: {name} starts from {ref}, which has read {read:,}, and reads {length:,}."


def _rising(trunk: Stage, point: Stage) -> bool:
    """Whether a point lies in the first piece of its trunk's schedule, which rises."""
    if trunk.schedule is None or not point.phases:
        return False
    start, end = point.phases[0].clock_start, point.phases[-1].clock_end
    first = piece_from(trunk.schedule, start)
    return first is not None and first.first < first.last and end < first.end
