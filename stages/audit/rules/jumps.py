"""The learning rate at a hand-over: where it jumps, or rises above all that the weights were trained with."""

from __future__ import annotations

from collections.abc import Iterator

from stages.audit import curve
from stages.audit.curve import JUMP, Curve, apart
from stages.audit.figures import first_step, last_step
from stages.audit.finding import edge_rule
from stages.audit.frameworks import TRAINERS
from stages.audit.loads import on_load
from stages.audit.recipe import Edge, Fault


@edge_rule("rate-jumps", "I-28", "The learning rate jumps at the hand-over")
def jumps(edge: Edge) -> Iterator[Fault]:
    """Where the moments of the old rate meet the new one, and where a schedule of its own begins above the old one."""
    loads, before, after = on_load(edge.child), curve.of(edge.parent), curve.of(edge.child)
    last = edge.step if edge.step is not None else last_step(edge.parent)
    first = first_step(edge.child)
    if loads is None or before is None or after is None or last is None or first is None:
        return
    old, new = before.at(last), after.at(first)
    if old is None or new is None:
        return
    if loads.scheduler == "override" and loads.optimizer and apart(old, new):
        found, expected = (f"{old:.3g} at the end of {edge.parent.name}, then {new:.3g}", "the same rate, or a warm-up")
    elif loads.scheduler == "file" and edge.child.framework not in TRAINERS and (rise := _rise(before, after, old)):
        found, expected = (
            rise.format(edge.parent.name),
            f"at most {old:.3g}, or a warm-up to at most {before.peak:.3g}",
        )
    else:
        return
    what = "the moments of the old rate meet the new one" if loads.optimizer else "what was learned is overwritten"
    yield edge.child.fault("lr", found, expected, what, None, "the jump is meant")


def _rise(before: Curve, after: Curve, old: float) -> str | None:
    """What a schedule of its own does that no warm-up prepares: it begins higher, or rises above the parent's peak.

    From a rate of 0 every rate is higher. A Trainer is not checked: its parents are of other kinds, and adapters have
    rates of their own.
    """
    if after.warmup and after.peak > JUMP * before.peak:
        return f"a peak of {after.peak:.3g}, above the {before.peak:.3g} of {{}}"
    if not after.warmup and after.peak > JUMP * old > 0:
        return f"{old:.3g} at the end of {{}}, then {after.peak:.3g}"
    return None
