"""What a reviewer has to see although no key moves: waivers, and the sources stated for figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stages.check import facts
from stages.check.waivers import Holder, holders
from stages.diff.scalar_edits import Edit
from stages.errors import Where
from stages.spec.files import Files
from stages.spec.nodes import Document, dotted
from stages.spec.project import Project
from stages.spec.resolved import Waiver
from stages.spec.sources import NEEDS, origins


@dataclass(frozen=True)
class WaiverChange:
    """A waiver that was added or removed, or excuses more or something else than before."""

    where: Where
    ref: str  # for `--json`
    what: str  # added | removed | widened | narrowed
    waiver: Waiver
    before: Waiver | None


@dataclass(frozen=True)
class MarkChange:
    """Figures of a file that come from somewhere else than before: `figures` are paths by names.

    `old` and `new` are marks; with what they cite, where it is this alone that changed.
    """

    file: str
    old: str
    new: str
    figures: tuple[str, ...]


@dataclass(frozen=True)
class KeptSource:
    """Figures of a file that were edited while their stated source stayed as it was."""

    file: str
    mark: str
    said: str  # the citation or the reason
    figures: tuple[str, ...]


def waivers(old: Project, new: Project, scale: str) -> list[WaiverChange]:
    """Changed waivers of all stages and pipelines, one that a reading takes over only once.

    A waiver is the same one if it names the invariant and one of the places.
    """
    before, after = _holders(old, scale), _holders(new, scale)
    found: dict[tuple[Where, str], WaiverChange] = {}
    for ref in {**after, **before}:
        for change in _of_one(before.get(ref, Holder(ref, (), ())), after.get(ref, Holder(ref, (), ()))):
            found.setdefault((change.where, change.what), change)
    return list(found.values())


def _holders(project: Project, scale: str) -> dict[str, Holder]:
    resolved = (project.resolve(name, scale) for name in project.pipelines(variants=True, scale=scale))
    return {holder.ref: holder for one in resolved for holder in holders(one)}


def _of_one(old: Holder, new: Holder) -> Iterator[WaiverChange]:
    before = dict(enumerate(old.waivers))
    for waiver, here in zip(new.waivers, new.lines, strict=True):
        twin = next((n for n, one in before.items() if one.id == waiver.id and set(one.at) & set(waiver.at)), None)
        if twin is None:
            yield WaiverChange(here, new.ref, "added", waiver, None)
            continue
        was = before.pop(twin)
        if not _excuses_no_more(waiver, was):
            yield WaiverChange(here, new.ref, "widened", waiver, was)
        elif not _excuses_no_more(was, waiver):
            yield WaiverChange(here, new.ref, "narrowed", waiver, was)
    for number, waiver in before.items():
        yield WaiverChange(old.lines[number], old.ref, "removed", waiver, None)


def _excuses_no_more(one: Waiver, other: Waiver) -> bool:
    return set(one.at) <= set(other.at) and facts.within(one.found, other.found)


def mark_changes(old: Files, new: Files) -> Iterator[MarkChange]:
    """Figures that stand in both revisions under another mark or citation, by file and by the two."""
    for path in sorted(new.specs.glob("*/*.yaml")):
        name = path.relative_to(new.specs).as_posix()
        if not (old.specs / name).is_file():
            continue
        before, after = _citations(old.document(old.specs / name)), _citations(new.document(path))
        moved: dict[tuple[str, str], list[str]] = {}
        for figure in before.keys() & after.keys():
            (was, cited), (now, cites) = before[figure], after[figure]
            if was != now:
                moved.setdefault((was, now), []).append(figure)
            elif cited != cites and NEEDS.get(now) == "citation":
                moved.setdefault((f"{was}, {cited}", f"{now}, {cites}"), []).append(figure)
        for (was, now), paths in sorted(moved.items()):
            yield MarkChange(f"specs/{name}", was, now, tuple(sorted(paths)))


def kept(old: Files, new: Files, edits: Iterable[Edit]) -> Iterator[KeptSource]:
    """Edited figures with the source that they had, by file and by source: does it say the new figure?"""
    edited: dict[str, set[str]] = {}
    for edit in edits:
        if edit.old is not None and edit.new is not None and edit.key:
            edited.setdefault(edit.where.file, set()).add(edit.key)
    for file, keys in edited.items():
        before, after = (_citations(files.document(files.specs.parent / file)) for files in (old, new))
        same: dict[tuple[str, str], list[str]] = {}
        for key in sorted(keys & before.keys() & after.keys()):
            mark, text = after[key]
            if text and before[key] == after[key]:
                same.setdefault((mark, text), []).append(key)
        for (mark, text), figures in same.items():
            yield KeptSource(file, mark, text, tuple(figures))


def _citations(document: Document) -> dict[str, tuple[str, str]]:
    """The mark of each figure, and the citation or reason that the mark asks for."""
    return {
        dotted(path): (str(entry["mark"]), str(entry.get(NEEDS.get(str(entry["mark"]), ""), "")))
        for path, entry in origins(document.value)
    }
