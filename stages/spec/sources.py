"""Every figure has a source: which paths of a file its `sources:` cover, and which figures have none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from pydantic import Field

from stages.errors import SpecError
from stages.spec import quantities
from stages.spec.fields import Citation, Raw, Reason
from stages.spec.nodes import Document, Path, Tree, dotted

Mark = Literal["published", "derived", "seed", "assumed", "chosen", "unknown"]

PROSE = frozenset(
    {"stage", "box", "title", "citation", "figure", "reason", "jump", "reread", "what", "name", "id", "pipeline",
     "scale", "extends", "tokenizer", "release", "data", "waivers"}
)  # fmt: skip
NAMES = ("name", "corpus", "what")  # what an item of a list may be called by in a path
NEEDS = {"published": "citation", "seed": "citation", "derived": "reason", "assumed": "reason", "unknown": "reason"}
ABSENT = "none"  # in the place of a figure: gradients that are not clipped
UNASKED = frozenset({ABSENT, "true", "false"})  # what may have a source and needs none
EVERYTHING = "*"
UNPUBLISHED = re.compile(
    r"\s*(not published|unpublished|not given|assumed|guess|our (own )?choice|none\b|(todo|tbd|tba|fixme|[?.-]+)\s*$)",
    re.IGNORECASE,
)


class RawSource(Raw):
    """Where the figures under some paths come from."""

    covers: list[str] = Field(min_length=1)
    mark: Mark
    citation: Citation | None = None
    reason: Reason | None = None


def uncovered(document: Document, entries: Sequence[RawSource]) -> Iterator[SpecError]:
    """Figures without a source or with two, entries without a citation or reason, and paths that cover no figure."""
    yield from _twice(document, entries)
    covers = Covers(cover for entry in entries for cover in entry.covers)
    used: set[str] = set()
    bare: list[tuple[Path, Path, str]] = []
    for path, aliases, text in figures(document.value, states=_stated):
        matching = covers.matching(path, aliases)
        used |= matching
        if not matching and text not in UNASKED:
            bare.append((path, aliases, text))
    if bare:
        yield _bare(document, bare)
    for number, entry in enumerate(entries):
        need = NEEDS.get(entry.mark)
        place = ("sources", number)
        if need and not getattr(entry, need):
            yield SpecError(
                document.where(place), dotted((*place, need)), "nothing", f"{entry.mark} figures need a {need}",
                f"Add `{need}: ...`.",
            )  # fmt: skip
        if need == "citation" and UNPUBLISHED.match(entry.citation or ""):
            yield SpecError(
                document.where((*place, need)), dotted((*place, need)), f"{entry.citation!r} with mark: {entry.mark}",
                "where it is published", "Cite it, or write `mark: assumed` with this as its reason.",
            )  # fmt: skip
        for cover in entry.covers:
            if cover not in used:
                yield SpecError(
                    document.where(place), dotted((*place, "covers")), f"{cover!r}, which covers no figure",
                    "paths of figures in this file", "Correct the path or remove it.",
                )  # fmt: skip


def _bare(document: Document, figures: Sequence[tuple[Path, Path, str]]) -> SpecError:
    """One error for all figures of a file that have no source, at the first of them."""
    path, aliases, text = figures[0]
    if len(figures) == 1:
        found, covers = f"{text} without a source", dotted(aliases)
    else:
        last = max(document.where(other).line for other, _, _ in figures)
        found = f"{text} without a source, and {len(figures) - 1} more figures down to line {last}"
        covers = ", ".join(dict.fromkeys(str(names[0]) for _, names, _ in figures))
    expected = "figures that `sources:` covers"
    return document.error(path, found, expected, f"Add {{covers: [{covers}], mark: ..., citation or reason: ...}}.")


def _twice(document: Document, entries: Sequence[RawSource]) -> Iterator[SpecError]:
    """Paths that two entries cover, or one entry twice: which mark applies would be open."""
    known: dict[str, int] = {}
    for number, entry in enumerate(entries):
        for cover in entry.covers:
            if cover in known:
                line = document.where(("sources", known[cover])).line
                yield SpecError(
                    document.where(("sources", number)), dotted(("sources", number, "covers")),
                    f"{cover!r} a second time, after line {line}", "each path once", "Remove it from one of them.",
                )  # fmt: skip
            known.setdefault(cover, number)


def _stated(text: str) -> bool:
    return text in UNASKED or quantities.is_number(text)


def published(entries: Iterable[dict[str, Tree]], path: str) -> bool:
    """Whether one of a file's sources is of this path itself, and cites where it is published."""
    return any(entry["mark"] == "published" and path in entry["covers"] for entry in entries)


class Covers:
    """The paths that sources cover; every beginning of one is kept, so that a figure is looked up and not searched."""

    def __init__(self, covers: Iterable[str]) -> None:
        self._whole = {tuple(cover.split(".")) for cover in covers}
        self._begun = {parts[:end] for parts in self._whole for end in range(1, len(parts) + 1)}

    def matching(self, path: Path, aliases: Path) -> set[str]:
        """Those at or above a path, whose items of lists may go by index or by name."""
        found = {EVERYTHING} if (EVERYTHING,) in self._whole else set()
        heads: set[tuple[str, ...]] = {()}
        for index, name in zip(path, aliases, strict=True):
            heads = {(*head, word) for head in heads for word in (str(index), str(name))} & self._begun
            found |= {".".join(head) for head in heads & self._whole}
        return found


def marks(tree: Tree) -> Iterator[tuple[Path, str]]:
    """The mark of every figure of a file that has `sources:`, by the figure's path by names. The longest path wins."""
    for path, entry in origins(tree):
        yield path, str(entry["mark"])


def origins(tree: Tree) -> Iterator[tuple[Path, dict[str, Tree]]]:
    """The source of every figure of a file that has `sources:`, as it is written; paths as of `marks`.

    Of a file that nothing has validated, what is no entry is left out: it is a finding where the file is loaded.
    """
    written = tree.get("sources") if isinstance(tree, dict) else None
    entries = written if isinstance(written, list) else []
    by_path = {path: entry for entry in entries if _whole(entry) for path in entry["covers"]}
    covers = Covers(by_path)
    for path, aliases, _ in figures(tree):
        matching = covers.matching(path, aliases)
        if matching:
            yield aliases, by_path[max(matching, key=lambda cover: (cover != EVERYTHING, cover.count(".")))]


def _whole(entry: Tree) -> bool:
    """Whether an entry has a mark and names paths."""
    covers = entry.get("covers") if isinstance(entry, dict) and isinstance(entry.get("mark"), str) else None
    return isinstance(covers, list) and all(isinstance(path, str) for path in covers)


def figures(
    tree: Tree, path: Path = (), aliases: Path = (), states: Callable[[str], bool] = quantities.is_number
) -> Iterator[tuple[Path, Path, str]]:
    """Every scalar that states a figure, as `states` knows them: its path, its path by names, its text."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key not in PROSE and not (key == "sources" and not path):
                yield from figures(value, (*path, key), (*aliases, key), states)
    elif isinstance(tree, list):
        for index, item in enumerate(tree):
            name = next(
                (item[key] for key in NAMES if isinstance(item, dict) and isinstance(item.get(key), str)), index
            )
            yield from figures(item, (*path, index), (*aliases, name), states)
    elif isinstance(tree, bool):
        if states(text := str(tree).lower()):
            yield path, aliases, text
    elif isinstance(tree, str) and states(tree):
        yield path, aliases, tree
