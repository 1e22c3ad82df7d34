"""What a reviewer has to see although no key moves: waivers, and where figures are said to come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stages.check import facts
from stages.errors import Where
from stages.spec.files import Files
from stages.spec.nodes import Document, dotted
from stages.spec.project import Project
from stages.spec.resolved import Stage, Waiver
from stages.spec.sources import marks


@dataclass(frozen=True)
class WaiverChange:
    """A waiver that was added or removed, or excuses more or something else than before."""

    where: Where
    ref: str
    what: str  # added | removed | widened | narrowed
    waiver: Waiver
    before: Waiver | None


@dataclass(frozen=True)
class MarkChange:
    """Figures of a file whose mark is another than before: `old` and `new` are marks, `figures` paths by names."""

    file: str
    old: str
    new: str
    figures: tuple[str, ...]


Stages = Mapping[str, Stage]


def waivers(old: tuple[Project, Stages], new: tuple[Project, Stages], scale: str) -> list[WaiverChange]:
    """Changed waivers of all stages, one that a reading takes over only once.

    A waiver is the same one if it names the invariant and one of the places.
    """
    found: dict[tuple[Where, str], WaiverChange] = {}
    for ref in {**new[1], **old[1]}:
        for change in _of_stage(old, new, scale, ref):
            found.setdefault((change.where, change.what), change)
    return list(found.values())


def _of_stage(old: tuple[Project, Stages], new: tuple[Project, Stages], scale: str, ref: str) -> Iterator[WaiverChange]:
    before = dict(enumerate(old[1][ref].waivers if ref in old[1] else ()))
    for number, waiver in enumerate(new[1][ref].waivers if ref in new[1] else ()):
        here = _where(new[0], scale, ref, number)
        twin = next((n for n, one in before.items() if one.id == waiver.id and set(one.at) & set(waiver.at)), None)
        if twin is None:
            yield WaiverChange(here, ref, "added", waiver, None)
            continue
        was = before.pop(twin)
        if not _excuses_no_more(waiver, was):
            yield WaiverChange(here, ref, "widened", waiver, was)
        elif not _excuses_no_more(was, waiver):
            yield WaiverChange(here, ref, "narrowed", waiver, was)
    for number, waiver in before.items():
        yield WaiverChange(_where(old[0], scale, ref, number), ref, "removed", waiver, None)


def _excuses_no_more(one: Waiver, other: Waiver) -> bool:
    return set(one.at) <= set(other.at) and facts.within(one.found, other.found)


def _where(project: Project, scale: str, ref: str, number: int) -> Where:
    pipeline, _, stage = ref.partition("/")
    return project.resolve(pipeline, scale).where(stage, "waivers", number)


def mark_changes(old: Files, new: Files) -> Iterator[MarkChange]:
    """Figures that stand in both revisions under another mark, by file and by the two marks."""
    for path in sorted(new.specs.glob("*/*.yaml")):
        name = path.relative_to(new.specs).as_posix()
        if not (old.specs / name).is_file():
            continue
        before, after = _marks(old.document(old.specs / name)), _marks(new.document(path))
        moved: dict[tuple[str, str], list[str]] = {}
        for figure in before.keys() & after.keys():
            if before[figure] != after[figure]:
                moved.setdefault((before[figure], after[figure]), []).append(figure)
        for (was, now), paths in sorted(moved.items()):
            yield MarkChange(f"specs/{name}", was, now, tuple(sorted(paths)))


def _marks(document: Document) -> dict[str, str]:
    return {dotted(path): mark for path, mark in marks(document.value)}
