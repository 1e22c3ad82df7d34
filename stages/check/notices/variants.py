"""A schedule of a variant that is the one of what it extends except for one figure: what both read is trained twice."""

from __future__ import annotations

from collections.abc import Iterator

from stages.spec import quantities
from stages.spec.project import Project
from stages.spec.schema.pipeline import RawPiece


def nearly_shared(project: Project) -> Iterator[str]:
    """A notice for each schedule that a variant goes on with, and of whose first pieces one figure is another."""
    every = {one.name: one for one in project.loadable}
    for loaded in every.values():
        if (base := every.get(loaded.raw.extends or "")) is None:
            continue
        for schedule, pieces in loaded.raw.schedules.items():
            theirs = base.raw.schedules.get(schedule, [])
            apart = [
                (number, key)
                for number, (mine, other) in enumerate(zip(pieces, theirs, strict=False))
                for key in _apart(mine, other)
            ]
            if len(pieces) > len(theirs) > 1 and len(apart) == 1:
                number, key = apart[0]
                where = loaded.document.where(("schedules", schedule, number, key))
                if loaded.writes(where):
                    yield (
                        f"{where}: schedule {schedule!r} goes on with {loaded.raw.extends}'s but for `{key}` of piece "
                        f"{number + 1}: stages that both have are trained twice."
                    )


def _apart(mine: RawPiece, theirs: RawPiece) -> list[str]:
    """The keys of which two pieces say something else."""
    first, second = (one.model_dump(by_alias=True, exclude={"jump"}) for one in (mine, theirs))
    return [key for key in first if not _same(first[key], second[key])]


def _same(one: object, other: object) -> bool:
    return one == other or quantities.same(str(one), str(other))
