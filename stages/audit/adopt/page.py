"""A recipe as specs of this project: what was read with file and line, what is unknown marked as such.

Every text is written by `Page`, which keeps each figure with its source. Figures that a recipe does not state stand
with `mark: unknown` and are findings of `stages check` (S-13) until they are written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stages.audit.recipe import Pipeline, Stage
from stages.printable import printable
from stages.spec.names import LONGEST, is_name
from stages.spec.sources import PROSE

Mark = tuple[str, str, str]  # mark, the key that it needs, and its text


@dataclass
class Specs:
    """Everything that is written: files below specs/, and what goes into the two files of data that all share."""

    files: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what the user has to settle that no figure says
    mixtures: list[str] = field(default_factory=list)
    mixture_sources: list[str] = field(default_factory=list)
    corpora: list[str] = field(default_factory=list)


@dataclass
class Page:
    """A spec file: its lines, and the source of every figure in them."""

    lines: list[str] = field(default_factory=list)
    sources: dict[str, Mark] = field(default_factory=dict)

    def add(self, *lines: str) -> None:
        """Lines as they are."""
        self.lines.extend(lines)

    def cover(self, path: str, mark: Mark) -> None:
        """The source of the figures at and below a path."""
        self.sources[path] = mark

    def text(self) -> str:
        """The file: its lines, and one entry of `sources:` for all paths of one source."""
        return "\n".join([*self.lines, "sources:", *entries(self.sources), ""])


def entries(sources: Mapping[str, Mark]) -> list[str]:
    """The items of `sources:`, in order of their first path."""
    by_mark: dict[Mark, list[str]] = {}
    for path, source in sources.items():
        by_mark.setdefault(source, []).append(path)
    lines = []
    for (mark, key, words), paths in by_mark.items():
        lines += [f"  - covers: [{', '.join(paths)}]", f"    mark: {mark}", f"    {key}: {quoted(words)}"]
    return lines


def quoted(text: str) -> str:
    """A text as YAML reads it back, in one line, whatever characters it has."""
    plain = " ".join(printable(text).split())[:300]
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def source(stage: Stage, *names: str) -> Mark:
    """Where figures are from: stated lines, stated lines that they follow from, or the framework's default."""
    values = [stage.values[name] for name in names if name in stage.values]
    if not values or any(one.value is None for one in values):
        reasons = [one.unknown for one in values if one.unknown]
        return unknown("; ".join([f"{stage.name} does not say it", *reasons]))
    lines = "; ".join(dict.fromkeys(f"{one.where} {one.key}" for one in values))
    defaults = [one for one in values if one.default is not None]
    if defaults:
        return "assumed", "reason", f"not in {stage.name}; the default of {defaults[0].default}"
    if any(one.derived for one in values) or len(values) > 1:
        return "derived", "reason", f"follows from {lines}"
    return "published", "citation", lines


def unknown(reason: str) -> Mark:
    """A figure that the recipe does not say: a placeholder is in its place."""
    return "unknown", "reason", f"{reason}; a placeholder"


def name_of(text: str, taken: Iterable[str], otherwise: str) -> str:
    """A name of this project made of a recipe's, that nothing in `taken` has."""
    words = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    words = re.sub(r"^[^a-z]+", "", words) or f"{otherwise}_{words}".strip("_")
    words = f"{words}_{otherwise}" if words in PROSE else words  # below a key of that name no figure has a source
    words = words[: LONGEST - 6].strip("_")
    words = words if is_name(words) else otherwise
    used, number, found = set(taken), 2, words
    while found in used:
        found, number = f"{words}_{number}", number + 1
    return found


def names(pipeline: Pipeline) -> dict[str, str]:
    """Every recipe's name as a stage."""
    found: dict[str, str] = {}
    for stage in pipeline.stages:
        file, _, number = stage.name.rpartition("/")[2].partition("#")
        stem = file.rsplit(".", 1)[0] + (f"_{number}" if number else "")
        found[stage.name] = name_of(stem, found.values(), "run")
    return found


def grouped(value: int | float) -> str:
    """A number as specs write it: integers in groups of three."""
    return f"{int(value):_}" if value == int(value) else f"{value:g}"
