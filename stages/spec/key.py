"""Content keys: what a stage computes, as 32 hex digits, known before anything runs.

A key is the blake3 of the canonical JSON of the resolved identity fields: sorted keys, floats in exact hexadecimal, the
parents by their keys and not by their names. Execution and descriptive fields are left out at every depth. Phases are
chained: phase k's key depends on the stage, on the phases up to k and on the schedule up to k's end, so that
changing a later phase keeps the work of the earlier ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from blake3 import blake3

from stages.spec.frozen import Frozen
from stages.spec.resolved import Stage

VERSION = 1  # of this scheme; changing it changes every key
HEX_DIGITS = 32
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
AS_IT_IS = frozenset({str, int, bool, type(None)})  # in canonical JSON; most values are of these


def stage_key(stage: Stage, parent_keys: Mapping[str, str]) -> str:
    """The stage's key; `parent_keys` maps each of stage.parents to its key. Raises KeyError if one is absent."""
    return _digest(["stage", _chain(stage, parent_keys)[-1]])


def phase_keys(stage: Stage, parent_keys: Mapping[str, str]) -> tuple[str, ...]:
    """One key for each phase, chained. Raises KeyError if a parent's key is absent."""
    return tuple(_chain(stage, parent_keys)[1:])


def _chain(stage: Stage, parent_keys: Mapping[str, str]) -> list[str]:
    fields = identity(stage)
    phases, schedule, numbers = fields.pop("phases"), fields.pop("schedule"), _scheduled(fields["optimizer"])
    fields["parents"] = sorted(parent_keys[parent] for parent in stage.parents)
    for init in (pair[1] for pair in fields["init"]):
        if init["parent"] is not None:
            init["parent"] = parent_keys[init["parent"]]
    if "merge" in fields:
        fields["merge"] = sorted([parent_keys[one["parent"]], one["part"]] for one in fields["merge"])
    links = [_digest(["begin", VERSION, fields])]
    for phase, canonical in zip(stage.phases, phases, strict=True):
        pieces = _up_to(schedule, phase.clock_end) if schedule else None
        curves = [[name, _up_to(one, phase.clock_end)] for name, one in numbers.items()]
        links.append(_digest(["phase", links[-1], canonical, pieces, *([curves] if curves else [])]))
    return links


def _scheduled(optimizer: dict[str, Any] | None) -> dict[str, Any]:
    """Take the schedules out of an optimizer's fields: they are read as far as each phase goes."""
    found = {name: one for name, one in (optimizer or {}).items() if isinstance(one, dict) and "pieces" in one}
    for name in found:
        optimizer[name] = "scheduled"  # type: ignore[index]
    return found


def _up_to(schedule: Mapping[str, Any], end: int) -> list[Any]:
    return [piece for piece in schedule["pieces"] if piece["end"] <= end]


def identity(value: Frozen) -> dict[str, Any]:
    """The identity fields of a resolved value, ready for canonical JSON (mappings as lists of pairs, in order)."""
    always, later = _covered(type(value))
    fields = {name: one if type(one := getattr(value, name)) in AS_IT_IS else _plain(one) for name in always}
    for name in later:
        if (one := getattr(value, name)) is not None:
            fields[name] = _plain(one)
    return fields


@cache
def _covered(kind: type[Frozen]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields of a class that keys cover, and those that they leave out while they are None."""
    left_out = kind.EXECUTION_FIELDS | kind.DESCRIPTIVE_FIELDS
    covered = [name for name in kind.model_fields if name not in left_out]
    return (
        tuple(name for name in covered if name not in kind.LATER_FIELDS),
        tuple(name for name in covered if name in kind.LATER_FIELDS),
    )


def _plain(value: Any) -> Any:
    if type(value) in AS_IT_IS:
        return value
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, (tuple, list)):
        return [one if type(one) in AS_IT_IS else _plain(one) for one in value]
    if isinstance(value, dict):
        return [[key, _plain(one)] for key, one in value.items()]
    return identity(value) if isinstance(value, Frozen) else value


def _digest(value: Any) -> str:
    return blake3(_CANONICAL.encode(value).encode()).hexdigest()[:HEX_DIGITS]
