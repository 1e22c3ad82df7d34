"""How often a looped model is run over its layers by what goes on from a stage that says nothing of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from stages.spec.language_model import LanguageModel

if TYPE_CHECKING:
    from stages.spec.hand_over import Node
    from stages.spec.resolved import Stage


def loops(stage: Stage, above: Iterable[Node]) -> int | None:
    """As last trained, through keep, merge and upcycle, which keeps layers times loops (24 x 8 = 48 x 4).

    None without a looped model, and where it came in as a release: its config.json says it.
    """
    if stage.phases:
        last = stage.phases[-1].loops
        return None if last is None else last.count
    by_ref = {node.ref: node for node in above}
    for name, model in stage.modules.items():
        if not isinstance(model, LanguageModel) or not model.LOOPED:
            continue
        parent = by_ref.get(stage.init[name].parent or next(iter(stage.parents), ""))
        if parent is None or parent.loops is None:
            return None
        before = parent.stage.modules[name]
        assert isinstance(before, LanguageModel), "a model is handed on as what it is"
        return parent.loops * before.layers // model.layers
    return None
