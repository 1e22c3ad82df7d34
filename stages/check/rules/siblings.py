"""Stages of one box that differ in little: branches for which a paper gives one figure, and one was edited alone.

A figure that both cite from one place has to be the same in both (S-14). A paper, a page or a report as a whole is no
place: it has figures for both. Other differences are notices.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.spec import quantities
from stages.spec.graph import descends_from
from stages.spec.loader import LoadedPipeline, LoadedStage
from stages.spec.nodes import Path, Tree, dotted
from stages.spec.schema.stages import RawTrain
from stages.spec.sources import figures, origins

OWN = frozenset({"stage", "box", "modules", "seed", "execution", "evaluate", "waivers", "sources", "variants"})
MOST = 3  # what siblings differ in: more is another recipe, whatever the box is called
LISTED = 2  # values of a difference that a notice shows

# A part of a document, as citations name it.
PLACE = re.compile(
    r"\b(tab(le|\.)|sec(tion|\.)|fig(ure|\.)|eq(uation|\.)|app(endix|\.)|pages?|pp?\.|lines?\b|listing|algorithm|rows?\b"
    r"|column)|§|\.(json|ya?ml|toml|py|sh)\b",
    re.IGNORECASE,
)

Values = dict[Path, str]


@static(
    "S-14",
    title="One place of a source gives one figure",
    rule="Branches of one box that are alike but for three values at most state the same figure where both cite the "
    "same place for it: a table, a section, a file, and not a whole document.",
    why="A table has one cell for both branches; one of the two was read from the column beside it, or edited alone.",
    threads=(),
)
def one_figure_of_one_place(context: Context) -> Iterator[Finding]:
    """S-14, of specs as they are written: at one scale. A pipeline that extends another has its stages from there."""
    if context.full is not None or context.loaded.raw.extends is not None:
        return
    for names, values in _siblings(context.loaded):
        cited = {name: _citations(context.loaded.stages[name]) for name in names}
        for path in _differing(values):
            stated = {name: values[name][path] for name in names if path in cited[name] and path in values[name]}
            for citation in dict.fromkeys(cited[name][path] for name in stated):
                if not PLACE.search(citation):
                    continue
                same = {name: text for name, text in stated.items() if cited[name][path] == citation}
                yield from _apart(context, path, citation, same)


def _apart(context: Context, path: Path, citation: str, stated: dict[str, str]) -> Iterator[Finding]:
    """The stages whose figure is another than most of those have that cite the same place, or than the first has."""
    usual = Counter(stated.values()).most_common(1)[0][0] if stated else None
    for name, text in stated.items():
        if text != usual:
            other = next(one for one in stated if stated[one] != text)
            yield context.finding(
                "S-14", name, path,
                observed=f"{text}, where {other} ({context.pipeline.where(other, *path)}), of the same box, has "
                f"{stated[other]} from the same place: {citation}",
                expected="one figure of one place", found=f"{text} beside {stated[other]}",
                repair="Correct one of the two, or say in each citation where it stands (the table's row or column).",
            )  # fmt: skip


def differing(loaded: LoadedPipeline) -> Iterator[str]:
    """A notice for each stage that differs from one of its box in a value for which no source gives one figure."""
    for names, values in _siblings(loaded):
        first, *others = names
        cited = {name: _citations(loaded.stages[name]) for name in names}
        for name in others:
            apart = [
                path for path in _differing({one: values[one] for one in (first, name)})
                if cited[first].get(path) != cited[name].get(path) or not PLACE.search(cited[name].get(path, ""))
            ]  # fmt: skip
            if apart:
                stage = loaded.stages[name]
                pairs = [
                    f"{dotted(path)}: {values[name].get(path, 'nothing')}, there {values[first].get(path, 'nothing')}"
                    for path in apart
                ]
                yield (
                    f"{stage.document.where(apart[0])}: {name} is of the same box as {first}, {stage.raw.box!r}, and "
                    f"differs in {'; '.join(pairs[:LISTED])}{'; and more' if len(pairs) > LISTED else ''}."
                )


def _siblings(loaded: LoadedPipeline) -> Iterator[tuple[list[str], dict[str, Values]]]:
    """Stages that train, of one box and alike except for a few values, with all values of each.

    One that follows another of its box, as contexts of an extension do, is a step further and no branch.
    """
    boxes: dict[tuple[str, int], list[str]] = {}
    for name, stage in loaded.stages.items():
        if isinstance(stage.raw, RawTrain):
            above = sum(loaded.stages[one].raw.box == stage.raw.box for one in descends_from(loaded, name))
            boxes.setdefault((stage.raw.box, above), []).append(name)
    for names in boxes.values():
        files = [loaded.stages[name].document.where(()).file for name in names]
        if len(names) < 2 or len(set(files)) < len(files):  # the arms of a sweep are one file
            continue
        values = {name: dict(_values(loaded.stages[name].document.value)) for name in names}
        if len(_differing(values)) <= MOST:
            yield names, values


def _values(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """What is computed, as it is written, except for where a stage starts from."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if not (path == () and key in OWN) and (*path, key) != ("init", "from"):
                yield from _values(value, (*path, key))
    elif isinstance(tree, list):
        for number, item in enumerate(tree):
            yield from _values(item, (*path, number))
    else:
        yield path, str(tree)


def _differing(values: dict[str, Values]) -> list[Path]:
    """The paths at which not all stages say the same."""
    first, *others = values.values()
    paths = dict.fromkeys(path for one in values.values() for path in one)
    return [
        path for path in paths
        if any(path not in one or path not in first or not quantities.same(one[path], first[path]) for one in others)
    ]  # fmt: skip


def _citations(stage: LoadedStage) -> dict[Path, str]:
    """The citation of each figure that has one, by the figure's path."""
    places = {aliases: path for path, aliases, _ in figures(stage.document.value)}
    return {
        places[aliases]: str(entry["citation"])
        for aliases, entry in origins(stage.document.value) if entry.get("citation")
    }  # fmt: skip
