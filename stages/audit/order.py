"""Which run goes on from which: by the paths of checkpoints, or by the file `audit.yaml` that the user writes.

    recipes:
      pretrain.sh: {tokens: 1T}
      anneal.sh: {from: pretrain.sh, step: 250_000, tokens: 50B, world: 64}

`from` and `step` say what a run loads, `tokens` what is claimed of it (in a paper, say), `world` on how many devices it
ran.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from stages.audit.figures import last_step, may_stop_before, settled
from stages.audit.loads import goes_on_by_itself, on_load
from stages.audit.readers.tree import Tree
from stages.audit.recipe import HOLE, Edge, Stage, Value, number
from stages.errors import SpecError, UserError, Where
from stages.spec.quantities import DECIMAL

FILE = "audit.yaml"
_KEYS = {"from": "from", "step": "load_step", "tokens": "claimed_tokens", "world": "world"}
_REPAIR = "An entry below `recipes:` is `anneal.sh: {from: pretrain.sh, step: 250_000, tokens: 50B, world: 64}`."


@dataclass(frozen=True)
class Order:
    """What the user says of recipes by name: parents, and figures."""

    parents: dict[str, tuple[str, Where]]
    figures: dict[str, dict[str, Value]]
    places: dict[str, Where]


def read(tree: Tree) -> Order:
    """The user's file. Raises SpecError at the line of what it cannot mean."""
    found = Order({}, {}, {})
    for key in tree.below(()):
        if key != "recipes":
            raise SpecError(tree.places[key,], str(key), f"the key {key}", "recipes", _REPAIR)
    for name in map(str, tree.below(("recipes",))):
        found.places[name] = tree.places["recipes", name]
        for key in map(str, tree.below(("recipes", name))):
            _entry(found, name, key, tree)
    return found


def _entry(found: Order, name: str, key: str, tree: Tree) -> None:
    path = ("recipes", name, key)
    where, leaf = tree.places[path], tree.leaves.get(path)
    if key not in _KEYS or leaf is None or leaf.text is None:
        raise SpecError(where, key, "a key or value that is none of these", ", ".join(_KEYS), _REPAIR)
    if key == "from":
        found.parents[name] = (leaf.text, where)
        return
    figure = quantity(leaf.text)
    if figure is None or figure < 0:
        raise SpecError(where, key, leaf.text, "a whole number, 1_000 or 1.5T", _REPAIR)
    figures = found.figures.setdefault(name, {})
    figures[_KEYS[key]] = Value(figure, where, key)
    if key == "tokens":
        figures["claimed_within"] = Value(_half_a_digit(leaf.text), where, key)


def quantity(text: str) -> int | None:
    """A whole number with K, M, B or T behind it, or without; None for anything else."""
    match = re.fullmatch(r"([\d_.,eE+]+)\s*([KMBT]?)", text.strip())
    figure = number(match[1].replace(",", "")) if match else None
    if match is None or figure is None:
        return None
    product = figure * DECIMAL[match[2]]
    return round(product) if abs(product - round(product)) < 1e-6 * max(1.0, abs(product)) else None


def _half_a_digit(text: str) -> int:
    """The precision that a figure is written with: 7.7T is within 0.05T."""
    digits = re.sub(r"[^\d.]", "", text)
    places = len(digits.partition(".")[2])
    return DECIMAL[text.strip()[-1:] if text.strip()[-1:] in DECIMAL else ""] // (2 * 10**places)


def completed(stages: Iterable[Stage], order: Order | None) -> list[Stage]:
    """The runs with what the user says of them. Raises UserError for a recipe that was not read."""
    stages = list(stages)
    names = {stage.name for stage in stages}
    for name, where in [] if order is None else [*order.places.items(), *order.parents.values()]:
        if name not in names:
            raise UserError(f"{where}: no recipe {name} was read; there are {', '.join(sorted(names))}.")
    figures = {} if order is None else order.figures
    parents = {} if order is None else {name: {"from": Value(*edge, "from")} for name, edge in order.parents.items()}
    return [
        replace(one, values={**one.values, **figures.get(one.name, {}), **parents.get(one.name, {})}) for one in stages
    ]


def edges(stages: Iterable[Stage], order: Order | None) -> tuple[Edge, ...]:
    """The hand-overs between runs: as the user says, else by the checkpoint that one saves and another one loads."""
    stages = list(stages)
    named = {stage.name: stage for stage in stages}
    found = []
    for child in stages:
        declared = None if order is None else order.parents.get(child.name)
        if declared is not None:
            own = (child.values[one] for one in ("load_step", "load", "pretrained") if one in child.values)
            where = next((one.where for one in own if one.value is not None), declared[1])
            found.append(Edge(named[declared[0]], child, where, child.count("load_step")))
        elif (parent := _by_path(child, stages)) is not None:
            found.append(Edge(parent, child, _loaded_at(child), child.count("load_step")))
    return tuple(found)


def _loaded_at(child: Stage) -> Where:
    """Where a run names what it begins from; what it would load of its own is not it."""
    itself = goes_on_by_itself(child) and "pretrained" in child.values
    return child.at("adapter_path", "pretrained") if itself else child.at("load_step", "load", "pretrained")


def without_circles(edges: tuple[Edge, ...], order: Order | None) -> tuple[tuple[Edge, ...], list[str]]:
    """The hand-overs without those by paths that lead back to where they began, and a line for each circle.

    What the user says stays: a circle of it is an error (sorted_by).
    """
    left, circles = list(edges), list[str]()
    for edge in edges:
        lineage = [edge.child.name]
        while (above := next((one for one in left if one.child.name == lineage[-1]), None)) is not None:
            lineage.append(above.parent.name)
            if lineage[-1] in lineage[:-1]:
                break
        by_path = [one for one in left if one.child.name in lineage and not (order and one.child.name in order.parents)]
        if lineage[-1] == edge.child.name and len(lineage) > 1 and by_path:
            left = [one for one in left if one not in by_path]
            names = ", ".join(sorted(set(lineage)))
            circles.append(
                f"{by_path[0].where}: by their paths, {names} go on from one another; say in {FILE} which do"
            )
    return tuple(left), circles


def _by_path(child: Stage, stages: list[Stage]) -> Stage | None:
    """The stage that saves to the folder that this one loads from; of several, the one with the longest path.

    A path of which no part is known is none; so is a folder that two stages save to. A word alone is the name of a
    result: the last part of the folder that its maker saves to.
    """
    path = child.folder("load" if "load" in child.values and not goes_on_by_itself(child) else "pretrained")
    # An adapter that is tuned further lies in its parent's folder.
    path = child.folder("merged_from") or child.folder("adapter_path") or path
    if on_load(child) is None or not HOLE.sub("", path).strip("/. "):
        return None
    parents = [one for one in stages if one is not child and one.folder("save") and _contains(one.folder("save"), path)]
    longest = max((len(one.folder("save")) for one in parents), default=0)
    found = [one for one in parents if len(one.folder("save")) == longest]
    if not parents and "/" in path:  # `owner/name`: pushed under that name by the run that made it
        found = [one for one in stages if one is not child and path.endswith("/" + one.folder("hub").rsplit("/", 1)[-1])
                 and one.folder("hub")]  # fmt: skip
    return found[0] if len(found) == 1 else None


def _contains(folder: str, path: str) -> bool:
    return (path + "/").startswith(folder + "/") or path == folder.rsplit("/", 1)[-1]


def arrived(stages: Iterable[Stage], edges: tuple[Edge, ...]) -> tuple[list[Stage], tuple[Edge, ...]]:
    """The stages with the step that they go on from where none is named: the parent's newest checkpoint, its end."""
    named = {stage.name: stage for stage in stages}
    found = []
    for edge in edges:
        child, end = named[edge.child.name], last_step(edge.parent)
        loads = on_load(child)
        if end is not None and may_stop_before(edge.parent, end):
            end = None
        if loads is not None and loads.step and "load_step" not in child.values and end is not None:
            step = Value(end, edge.where, f"the end of {edge.parent.name}", derived=True)
            named[child.name] = settled(replace(child, values={**child.values, "load_step": step}))
            edge = replace(edge, step=end, latest=True)
        found.append(edge)
    return list(named.values()), tuple(
        replace(edge, parent=named[edge.parent.name], child=named[edge.child.name]) for edge in found
    )


def sorted_by(stages: Iterable[Stage], edges: Iterable[Edge]) -> tuple[Stage, ...]:
    """The stages with every parent before its children; otherwise as they were. Raises UserError for a circle."""
    parents = {edge.child.name: edge.parent.name for edge in edges}
    left, done = list(stages), list[Stage]()
    while left:
        names = {one.name for one in left}
        ready = next((one for one in left if parents.get(one.name) not in names), None)
        if ready is None:
            raise UserError(f"these recipes go on from one another in a circle: {', '.join(sorted(names))}.")
        done.append(ready)
        left.remove(ready)
    return tuple(done)
