"""From paths to findings: files are read, hand-overs found, every rule asked; the same files give the same findings."""

from __future__ import annotations

import os
from pathlib import Path

from stages.audit import order
from stages.audit.cost import gpu_hours
from stages.audit.figures import settled
from stages.audit.finding import KINDS, RULES, Fault, Finding
from stages.audit.readers import formats, text, tree
from stages.audit.readers.text import Source
from stages.audit.recipe import Pipeline, Stage
from stages.audit.rules import (
    budget,
    checkpoints,
    evaluation,
    going_on,
    handover,
    jumps,
    layout,
    loading,
    model,
    schedule,
    stated_twice,
    texts,
)
from stages.errors import UserError
from stages.printable import printable

LONGEST = 300
FAMILIES = (
    budget,
    checkpoints,
    evaluation,
    going_on,
    handover,
    jumps,
    layout,
    loading,
    model,
    schedule,
    stated_twice,
    texts,
)


def read(paths: list[Path]) -> Pipeline:
    """The recipes at these paths, as one pipeline. Raises UserError where nothing there can be read as one."""
    found: list[Stage] = []
    said: list[str] = []
    chosen: order.Order | None = None
    for source in _sources(paths):
        try:
            if source.path.name == order.FILE and source.path.parent == source.root:
                chosen = order.read(tree.parse(text.text(source.path, source.name), source.name))
                continue
            stages, notes = formats.read(source)
        except text.Unreadable as error:
            said.append(str(error))
            continue
        found += stages
        said += notes
    if not found:
        raise UserError("\n".join([*said, "No recipe was found: see docs/audit.md for the formats that are read."]))
    return pipeline(found, chosen, said)


def pipeline(found: list[Stage], chosen: order.Order | None, said: list[str]) -> Pipeline:
    """Runs with what follows from their figures, and their hand-overs. Raises UserError for a wrong order."""
    done = [settled(stage) for stage in order.completed(found, chosen)]
    done, edges = order.arrived(done, order.edges(done, chosen))
    return Pipeline(order.sorted_by(done, edges), edges, tuple(said))


def _sources(paths: list[Path]) -> list[Source]:
    """Every file at these paths once, each named below the folder that all of them are in."""
    files: dict[Path, Path] = {}
    for given in paths:
        if not given.exists():
            raise UserError(f"{printable(str(given))}: no such file or folder; give a recipe, or a folder of them.")
        path = Path(os.path.abspath(given))
        root = path if path.is_dir() else path.parent
        for file in text.files(path, formats.suffixes()) if path.is_dir() else [path]:
            files.setdefault(file, root)
    base = Path(os.path.commonpath(sorted(set(files.values())))) if files else Path()
    return [Source(file, base, root) for file, root in files.items()]


def findings(pipeline: Pipeline) -> list[Finding]:
    """Every finding, in the order of files and lines."""
    assert FAMILIES  # importing them registers their rules
    found = [_priced(kind.id, fault) for kind, rule in RULES for fault in rule(pipeline)]
    return sorted(set(found), key=lambda one: (one.where, one.kind, one.found))


def _priced(kind: str, fault: Fault) -> Finding:
    hours = None if fault.tokens is None else gpu_hours(fault.stage, fault.tokens)
    found, expected, consequence = (_line(one) for one in (fault.found, fault.expected, fault.consequence))
    return Finding(kind, KINDS[kind].invariant, fault.stage.name, fault.where, found, expected, consequence,
                   fault.tokens, hours, fault.unless)  # fmt: skip


def _line(text: str) -> str:
    """What a stranger wrote, in one line of at most LONGEST characters in which nothing acts."""
    shown = printable(text).replace("\n", " ")
    return shown if len(shown) <= LONGEST else shown[:LONGEST] + " ..."
