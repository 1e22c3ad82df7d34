"""`weights: average`: a stage begins with the average that its parent's optimizer kept of the weights (`ema`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stages.errors import SpecError
from stages.spec.graph import parent_of
from stages.spec.loader import LoadedStage

if TYPE_CHECKING:
    from stages.spec.hand_over import Node

AVERAGE = "average"  # how `init.weights` names it


def check(loaded: LoadedStage, module: str, parent: Node) -> None:
    """Raise SpecError unless the parent's result has an average of the module."""
    averaged = [name for name, optimizer in parent.state.items() if optimizer.ema is not None]
    if module in averaged:
        return
    written = loaded.raw.init.weights  # type: ignore[attr-defined]
    there = ", ".join(one for one in parent.stage.modules if one in averaged) or "none of its modules"
    raise loaded.document.error(
        ("init", "weights", module) if module in written else ("init", "weights"),
        f"average for {module}, of which {parent_of(loaded, module)} has none",
        f"average where the parent's result has one; it has one of: {there}",
        "Write `weights: inherit`, or train the parent with an optimizer that has `ema`. A merge and an export hand on "
        "no average; keep and upcycle hand on their parent's, but not `{upcycle: experts}`.",
        "I-15",
    )


def moments(loaded: LoadedStage, module: str, restored: Mapping[str, str]) -> SpecError:
    """The error for `optimizer: inherit` next to it: the moments belong to the last weights."""
    return loaded.document.error(
        ("init", "optimizer", module) if module in restored else ("init", "optimizer"),
        f"inherit for {module}, whose weights are its parent's average",
        "reset: the parent's moments belong to its last weights",
        "Write `optimizer: reset`, with a schedule that warms up; or `weights: inherit`.",
        "I-15",
    )
