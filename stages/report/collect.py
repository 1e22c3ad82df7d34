"""All finished stages of a scale, parents before children, found by what lies in its results folder."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from stages.errors import UserError, in_words
from stages.report.metrics import StageResult, read
from stages.store import manifest, trees
from stages.store.layout import Layout


def finished(layout: Layout) -> list[StageResult]:
    """Read every finished stage of a scale in an order in which parents come first.

    Raises UserError where there is none, or where one of them cannot be read.
    """
    results, unreadable = readable(layout)
    if unreadable:
        raise UserError("\n".join(unreadable.values()))
    if not results:
        raise nothing(layout)
    return results


def nothing(layout: Layout) -> UserError:
    """The message where no stage of a scale has finished."""
    folder = layout.results / layout.scale
    return UserError(f"{folder}: no finished stage here. `{layout.snakemake()}` runs them.")


def any_finished(layout: Layout) -> bool:
    """Whether there is a result at all, of any stage."""
    return bool(_places(layout, []))


def _places(layout: Layout, unreadable: list[str]) -> dict[str, Path]:
    pipelines = trees.folders_in(layout.results / layout.scale, unreadable)
    stages = [one for folder in pipelines if folder.name != "data" for one in trees.folders_in(folder, unreadable)]
    return {"/".join(folder.parts[-2:]): folder for folder in stages if _is_result(folder)}


def _is_result(folder: Path) -> bool:
    """Whether a folder has a manifest; also where it cannot be found out, as in another user's: its reader says why."""
    try:
        os.lstat(folder / manifest.NAME)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def readable(layout: Layout, wanted: Collection[str] = ()) -> tuple[list[StageResult], dict[str, str]]:
    """The same as far as results can be read, and why each of the others cannot, by its name: one does not hide the
    others. A folder of them that cannot be listed has no name.

    Of `wanted`, pipeline/stage, where any are; no other is read then. Raises UserError where the parents go round in a
    circle.
    """
    folder = layout.results / layout.scale
    closed = list[str]()
    found = {ref: place for ref, place in _places(layout, closed).items() if not wanted or ref in wanted}
    results, unreadable = dict[str, StageResult](), {"": "\n".join(closed)} if closed else {}
    for ref, place in found.items():
        try:
            results[ref] = _renamed(layout, read(place))
        except (UserError, OSError) as error:
            unreadable[ref] = in_words(error)
    graph = {name: [p for p in result.stage.needed if p in results] for name, result in results.items()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise UserError(f"{folder}: the manifests' parents go round in a circle: {error.args[1]}") from None
    # Pipelines one after another; within each, parents first.
    return sorted((results[name] for name in order), key=lambda result: result.stage.pipeline), unreadable


def _renamed(layout: Layout, result: StageResult) -> StageResult:
    """A result whose parents have the names under which their results are in place now."""
    names = {ref: manifest.renamed(layout, ref, parent.key) for ref, parent in result.manifest.parents.items()}
    parents = tuple(names.get(ref, ref) for ref in result.stage.parents)
    return replace(result, stage=result.stage.model_copy(update={"parents": parents}))
