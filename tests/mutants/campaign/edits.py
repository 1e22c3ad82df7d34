"""Every slip of the campaign: one edit each of a file of specs/, as an author would leave it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as Folder

from tests.mutants.campaign import numbers
from tests.mutants.campaign.bookkeeping import tidied
from tests.mutants.campaign.leaves import Entry, Path, entries, twice, without
from tests.mutants.campaign.siblings import Siblings, kind_of, shape

# What people read and nothing computes with; `sources` says where figures come from, and follows what is removed.
PROSE = frozenset(
    {
        "sources",
        "title",
        "citation",
        "figure",
        "reason",
        "jump",
        "what",
        "waivers",
        "box",
        "version",
        "files",
        "leave_out",
    }
)


@dataclass(frozen=True)
class Edit:
    """One slip: at `path` of `file` (below specs/), `old` became `new`; `lines` are where a
    finding about it is expected: the lines that it touches, or those around what is gone."""

    file: str
    path: Path
    slip: str
    old: str
    new: str
    text: str
    lines: frozenset[int]

    @property
    def where(self) -> str:
        """The kind of the file and the path without names and numbers: what the rules of the report go by."""
        kind, *parts = shape(self.file, self.path)
        if kind == "mixtures" and len(parts) > 1:
            parts[1] = "*"
        return f"{kind.partition(' ')[0]}:{'.'.join(parts)}"

    @property
    def place(self) -> str:
        """The path as text, with the numbers of lists."""
        return ".".join(map(str, self.path))


def every(specs: Folder) -> list[Edit]:
    """Every slip that the campaign tries on a folder of specs, in the order of the files."""
    texts = {path.relative_to(specs).as_posix(): path.read_text() for path in sorted(specs.glob("*/*.yaml"))}
    held = {file: entries(text) for file, text in texts.items()}
    siblings = Siblings(held)
    found: dict[tuple[str, str], Edit] = {}
    for file, text in texts.items():
        for entry in held[file]:
            if entry.path[0] != "sources" and not PROSE.intersection(entry.path):
                for edit in _of(file, text, entry, siblings):
                    if edit.text != text:
                        found.setdefault((file, edit.text), edit)
    return list(found.values())


def _of(file: str, text: str, entry: Entry, siblings: Siblings) -> Iterator[Edit]:
    for slip, new in _values(file, entry, siblings):
        edited = text[: entry.start] + new + text[entry.end :]
        lines = frozenset(range(entry.line, entry.last_line + 1))
        yield Edit(file, entry.path, slip, entry.text or "", new, edited, lines)
    shown = " ".join(text[entry.begin : entry.end].split())[:60]
    nearby = frozenset({entry.line - 1, entry.line, entry.line + 1, entry.around[0], entry.around[0] - 1})
    yield Edit(file, entry.path, "removed", shown, "", tidied(without(text, entry)), nearby)
    if entry.text is not None or entry.item:
        again = frozenset(range(entry.line, 2 * entry.last_line - entry.line + 2))
        yield Edit(file, entry.path, "twice", shown, f"{shown}, twice", twice(text, entry), again)


def _values(file: str, entry: Entry, siblings: Siblings) -> Iterator[tuple[str, str]]:
    """(slip, text) for a scalar: quantities and words have different slips."""
    text = entry.text
    if text is None:
        return
    if entry.plain and numbers.is_quantity(text) and entry.path[-1] != "name":
        yield from ((slip, new) for slip, new in numbers.slips(text) if new != text)
        yield from (("sibling's value", new) for new in siblings.values(file, entry))
        return
    if text in ("true", "false"):
        yield "other word", "false" if text == "true" else "true"
        return
    names = siblings.names(file, entry)
    quote = "" if entry.plain else '"'
    for new in names or siblings.values(file, entry):
        yield ("sibling's name" if names else "other word"), f"{quote}{new}{quote}"
    if re.fullmatch(r"[A-Za-z][\w-]+", text) and (names or kind_of(file, entry.path)):
        yield "misspelt", text[:-1]
