"""`weights: average`: a stage begins with the average that its parent's optimizer kept of the weights (`ema`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from stages.errors import SpecError
from stages.spec.graph import parent_of
from stages.spec.loader import LoadedStage

if TYPE_CHECKING:
    from stages.spec.hand_over import Node
    from stages.spec.resolved import Stage

AVERAGE = "average"  # how `init.weights` names it


def kept(stage: Stage, above: Iterable[Node]) -> frozenset[str]:
    """Modules of whose weights a stage's result has an average: of those it trained, or handed on with their state."""
    if stage.phases:
        return frozenset(stage.trained if stage.optimizer is not None and stage.optimizer.ema is not None else ())
    if stage.kind == "export":
        return frozenset()  # no optimizer state, so no average
    by_ref = {node.ref: node.averages for node in above}
    inherits = (pair for pair in stage.init.items() if pair[1].optimizer == "inherit" and pair[1].experts is None)
    handed = ((name, init.parent) for name, init in inherits)
    return frozenset(name for name, parent in handed if parent is not None and name in by_ref[parent])


def check(loaded: LoadedStage, module: str, parent: Node) -> None:
    """Raise SpecError unless the parent's result has an average of the module."""
    if module in parent.averages:
        return
    written = loaded.raw.init.weights  # type: ignore[attr-defined]
    there = ", ".join(one for one in parent.stage.modules if one in parent.averages) or "none of its modules"
    raise loaded.document.error(
        ("init", "weights", module) if module in written else ("init", "weights"),
        f"average for {module}, of which {parent_of(loaded, module)} has none",
        f"average where the parent's result has one; it has one of: {there}",
        "Write `weights: inherit`, or train the parent with an optimizer that has `ema`. A merge and an export hand on "
        "no average; keep and upcycle hand on their parent's, but not `{upcycle: experts}`.",
    )


def moments(loaded: LoadedStage, module: str, restored: Mapping[str, str]) -> SpecError:
    """The error for `optimizer: inherit` beside it: the moments belong to the last weights."""
    return loaded.document.error(
        ("init", "optimizer", module) if module in restored else ("init", "optimizer"),
        f"inherit for {module}, whose weights are its parent's average",
        "reset: the parent's moments belong to its last weights",
        "Write `optimizer: reset`, with a schedule that warms up; or `weights: inherit`.",
    )
