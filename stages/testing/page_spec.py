"""The page `spec` of a stage: every field that decides its numbers, with its unit, and the key that follows."""

from __future__ import annotations

from typing import Any

from stages.spec import units
from stages.spec.frozen import Frozen
from stages.spec.resolved_pipeline import ResolvedPipeline

UNITS = {
    ("Phase", "context"): "positions",
    ("Phase", "micro_batch"): "seq",
    ("BatchStep", "sequences"): "seq",
    ("Llama3Scaling", "original"): "positions",
    ("Resolution", "cap"): "pixels",
}
LEDGER = frozenset({"budget", "clock_start", "after", "start", "end"})  # counted in the phase's own unit
RATIONAL = frozenset({"p0", "p1", "first", "last"})  # where they are pairs: numerator, denominator
DIGEST = 12  # digits of a digest that tell two apart


def page(resolved: ResolvedPipeline, name: str) -> dict[str, Any]:
    """Identity fields, whatever they are (a new one appears here by itself), and the key."""
    stage = resolved.stages[name]
    unit = stage.phases[0].unit if stage.phases else "tokens"
    return {**fields(stage, unit), "key": resolved.keys[name]}


def fields(value: Frozen, unit: str) -> dict[str, Any]:
    """A resolved value as plain ones; fields outside of the key are left out."""
    names = [name for name in type(value).model_fields if name not in value.outside_keys()]
    return {name: shown(value, name, getattr(value, name), unit) for name in names}


def shown(owner: Frozen, name: str, value: Any, unit: str) -> Any:
    """One value: counts with their unit, digests by their beginning, floats exactly as they are."""
    if isinstance(value, Frozen):
        return fields(value, unit)
    if isinstance(value, dict):
        return {key: shown(owner, name, one, unit) for key, one in value.items()}
    if name in RATIONAL and isinstance(value, tuple):
        return f"{value[0]}/{value[1]}"
    if isinstance(value, tuple):
        return [shown(owner, name, one, unit) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        kind = unit if name in LEDGER else UNITS.get((type(owner).__name__, name))
        return f"{units.format_tokens(value)} {kind}" if kind else value
    if isinstance(value, str) and len(value) == 64:
        return value[:DIGEST]
    return value
