"""The optimizer state in a stage's result: of which modules, and by which optimizer it was made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from stages.spec.resolved_training import Optimizer

if TYPE_CHECKING:
    from stages.spec.hand_over import Node
    from stages.spec.resolved import Stage


def in_result(stage: Stage, above: Iterable[Node]) -> dict[str, Optimizer]:
    """The optimizer of each module whose state is in the result: of those that the stage trained or, where it trains
    nothing, of those that it takes over with their state. `above` are its parents.
    """
    if stage.phases:
        return {} if stage.optimizer is None else dict.fromkeys(stage.trained, stage.optimizer)
    if stage.kind == "export":
        return {}  # weights only
    found: dict[str, Optimizer] = {}
    by_ref = {node.ref: node.state for node in above}
    for name, init in stage.init.items():
        if init.optimizer != "inherit" or init.parent is None or name not in by_ref[init.parent]:
            continue
        made_by = by_ref[init.parent][name]
        # Experts have copies of moments, and no average (stages/models/upcycle_experts.py).
        found[name] = made_by if init.experts is None else made_by.model_copy(update={"ema": None})
    return found
