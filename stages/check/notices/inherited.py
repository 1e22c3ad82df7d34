"""What an optimizer's state was made with and a stage that inherits it has no longer: groups, and the weight decay.

Where the clock goes on, another weight decay is a notice of its own (batches.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.context import Context
from stages.check.notices.full_size import contexts
from stages.check.rules.moments import state_of
from stages.errors import Where
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_training import Group, Optimizer


def lost_settings(project: Project, scale: str) -> Iterator[str]:
    """A notice for each stage that inherits an optimizer's state, and lacks a group or the decay that it had."""
    for context in contexts(project, scale):
        seen: set[Where] = set()  # the values of a sweep have one line
        for name, stage in context.own:
            where = context.where(name, "optimizer")
            if where not in seen and context.writes(where) and (said := _said(context, stage)):
                seen.add(where)
                yield f"{where}: {name} {said}, whose optimizer's state it inherits."


def _said(context: Context, stage: Stage) -> str:
    for module, init in stage.init.items():
        if init.optimizer != "inherit" or init.parent is None or module not in stage.trained:
            continue
        new, old = stage.optimizer, state_of(context, init.parent, module)
        if new is None or old is None or new.kind != old.kind:
            continue  # I-15
        lost = next((one for one in _of(old, module) if one not in _of(new, module)), None)
        if lost is not None:
            figures = f"lr {lost.lr:g}, weight_decay {lost.weight_decay:g}"
            return f"trains {module} without group {lost.name!r} ({figures}) of {init.parent}"
        was, now = old.weight_decay, new.weight_decay  # of a schedule, a branch may take any value, or the last
        if stage.clock == "reset" and isinstance(was, float) and isinstance(now, float) and was != now:
            return f"trains with weight_decay {now:g}, after {was:g} of {init.parent}"
    return ""


def _of(optimizer: Optimizer, module: str) -> list[Group]:
    """The groups that have parameters of a module."""
    return [one for one in optimizer.groups or () if one.modules is None or module in one.modules]
