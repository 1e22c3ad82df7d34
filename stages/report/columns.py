"""Where each stage is in the picture of a pipeline: its row, its columns, its curve. Pure geometry, no drawing.

Budgets within one pipeline differ by more than a factor of a hundred (Ouro's LongCT has 20B tokens, its stable stages
3T each), so a linear axis would hide the short stages. A stage is as wide as the cube root of its budget, and never
narrower than a label; the ticks tell the real counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from stages.report.number_format import UNITS, count
from stages.spec.graph import reached
from stages.spec.resolved import Stage
from stages.spec.resolved_models import LANGUAGE_MODELS

NARROWEST = 0.062  # of the picture's width: what a label of nine-point type needs


@dataclass(frozen=True)
class Column:
    """One trained stage in the picture.

    `left` and `right` are in picture units (the main row spans 0 to 1); `before` and `after` are the ledger's count
    along the lineage where the stage begins and ends.
    """

    stage: Stage
    row: str  # "language" or "vision"
    branch: int  # which of the parallel branches of the row, 0 for the shared part and for the first
    left: float
    right: float
    before: int
    after: int

    def at(self, consumed: float) -> float:
        """Picture position of a count of ledger units consumed within the stage."""
        return self.left + (self.right - self.left) * consumed / (self.after - self.before)


def row(stage: Stage) -> str:
    """The row a trained stage is drawn in: "language" if it moves a language model, else "vision"."""
    moved = (stage.modules[module].family for module in stage.trained)
    return "language" if any(family in LANGUAGE_MODELS for family in moved) else "vision"


def trained(stages: Mapping[str, Stage]) -> dict[str, Stage]:
    """The stages that have an LR curve of their own (a point has its trunk's), by "pipeline/stage", as given."""
    learning = (stage for stage in stages.values() if stage.phases and stage.schedule is not None)
    return {stage.ref: stage for stage in learning if stage.trunk is None}


def points(stages: Mapping[str, Stage]) -> dict[str, Stage]:
    """The points whose trunk is among the stages, by "pipeline/stage"."""
    every = {stage.ref for stage in stages.values()}
    return {stage.ref: stage for stage in stages.values() if stage.trunk in every}


def lineage_parents(stages: Mapping[str, Stage]) -> dict[str, tuple[str, ...]]:
    """For each trained stage its nearest trained ancestors in the same row, through keep, upcycle and export.

    A point is one of them: what starts from it starts inside its trunk.
    """
    every = {stage.ref: stage for stage in stages.values()}
    drawn = trained(stages)
    started = drawn | points(stages)

    def nearest(name: str, wanted: str) -> set[str]:
        found: set[str] = set()
        for parent in every[name].parents:
            if parent in started and row(started[parent]) == wanted:
                found.add(parent)
            elif parent in every:
                found |= nearest(parent, wanted)
        return found

    return {name: tuple(sorted(nearest(name, row(stage)))) for name, stage in drawn.items()}


def columns(stages: Mapping[str, Stage]) -> list[Column]:
    """Lay the trained stages of a pipeline out; the language row spans 0 to 1.

    Stages of parallel branches that begin at the same count stand in the same columns. A vision row is stretched to
    the stretch of the language row that it runs next to: from 0 to where its language descendants begin.
    """
    drawn = trained(stages)
    parents = lineage_parents(stages)
    main = [name for name, stage in drawn.items() if row(stage) == "language"]
    side = [name for name, stage in drawn.items() if row(stage) == "vision"]
    inside = points(stages)
    placed = _place(main, drawn, parents, inside)
    if not side:
        return list(placed.values())
    every = {stage.ref: stage for stage in stages.values()}
    joins = [placed[name].left for name in main if not ancestry(name, every).isdisjoint(side)]
    right = min(joins, default=1.0)
    beside = _place(side, drawn, parents, inside)
    stretched = [
        Column(c.stage, c.row, c.branch, c.left * right, c.right * right, c.before, c.after) for c in beside.values()
    ]
    return [*placed.values(), *stretched]


def _place(
    names: list[str], drawn: Mapping[str, Stage], parents: Mapping[str, tuple[str, ...]], inside: Mapping[str, Stage]
) -> dict[str, Column]:
    """Columns of one row, from 0 to 1, in topological order of `names`; `inside` are the points of trunks."""
    widths = _widths(names, drawn, parents)
    branch = _branches(names, parents)
    cuts: dict[str, list[tuple[str, int]]] = {}
    for point, stage in inside.items():
        cuts.setdefault(str(stage.trunk), []).append((point, stage.budget))
    start: dict[str, tuple[float, int]] = {}
    found: dict[str, tuple[float, float, int, int]] = {}
    for name in names:
        left, before = max((start[parent] for parent in parents[name] if parent in start), default=(0.0, 0))
        start[name] = (left + widths[name], before + drawn[name].budget)
        found[name] = (left, *start[name][:1], before, start[name][1])
        for point, consumed in cuts.get(name, ()):
            start[point] = (left + widths[name] * consumed / drawn[name].budget, before + consumed)
    span = max((right for _, right, _, _ in found.values()), default=1.0)
    return {
        name: Column(drawn[name], row(drawn[name]), branch[name], left / span, right / span, before, after)
        for name, (left, right, before, after) in found.items()
    }


def _widths(names: list[str], drawn: Mapping[str, Stage], parents: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """Cube roots of the budgets, each at least NARROWEST of the longest lineage."""
    roots = {name: drawn[name].budget ** (1 / 3) for name in names}
    total: dict[str, float] = {}
    for name in names:
        total[name] = roots[name] + max((total.get(parent, 0.0) for parent in parents[name]), default=0.0)
    least = NARROWEST * max(total.values(), default=1.0)
    return {name: max(root, least) for name, root in roots.items()}


def _branches(names: list[str], parents: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Number the branches: a stage carries on its first parent's branch unless an earlier sibling has taken it."""
    branch: dict[str, int] = {}
    carried: set[str] = set()
    for name in names:
        parent = parents[name][0] if parents[name] else None
        if parent in branch and parent not in carried:
            branch[name] = branch[parent]
            carried.add(parent)
        else:
            branch[name] = max(branch.values(), default=-1) + 1
    return branch


def side_by_side(laid: Iterable[Column]) -> list[list[Column]]:
    """The columns of one row by where they stand, from left to right: parallel branches stand in the same place."""
    places: dict[tuple[float, float], list[Column]] = {}
    for column in sorted(laid, key=lambda column: column.left):
        places.setdefault((round(column.left, 9), round(column.right, 9)), []).append(column)
    return list(places.values())


def common_words(texts: Iterable[str], separator: str) -> str:
    """What names of branches begin with, which differ in a suffix: "stable_2_1_4b", "CT Annealing (1.4B)"."""
    words = zip(*(text.split(separator) for text in texts), strict=False)
    return separator.join(same[0] for same in takewhile(lambda same: len(set(same)) == 1, words))


def borders(laid: Sequence[Column]) -> list[tuple[float, str]]:
    """The borders of a row's columns, each with the count along the lineage there; branches may have several.

    Counts rise from left to right: a later branch that ends elsewhere than the counts around it say has none.
    """
    places: dict[float, list[int]] = {0.0: [laid[0].before]}
    for column in sorted(laid, key=lambda column: column.branch):
        right = round(column.right, 9)
        others = [(place < right, value < column.after) for place, some in places.items() if place != right
                  for value in some]  # fmt: skip
        if all(left == fewer for left, fewer in others):
            places.setdefault(right, []).append(column.after)
    return [(place, " / ".join(map(count, sorted(set(values))))) for place, values in sorted(places.items())]


def levels(extents: Sequence[tuple[float, float]]) -> list[int]:
    """The row of each text, from 0, such that none touches another: of those that would, what is left is lowest."""
    ends: list[float] = []
    found = dict.fromkeys(range(len(extents)), 0)
    for number in sorted(found, key=lambda number: extents[number]):
        left, right = extents[number]
        found[number] = next((row for row, end in enumerate(ends) if end <= left), len(ends))
        ends[found[number] : found[number] + 1] = [right]
    return list(found.values())


def units(laid: Sequence[Column]) -> str:
    """What the counts of a row are of."""
    return " and ".join(dict.fromkeys(UNITS[phase.unit] for column in laid for phase in column.stage.phases))


def ancestry(name: str, every: Mapping[str, Stage]) -> set[str]:
    """All stages upstream of one, by "pipeline/stage"; those that `every` does not contain are named, not followed."""
    return set(reached(every[name].parents, lambda one: every[one].parents if one in every else ()))
