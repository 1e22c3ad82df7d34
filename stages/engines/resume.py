"""What a run takes over from earlier attempts at the same stage: a checkpoint, and the evaluation of what it received.

Damage is never passed over in silence: it is printed, and so goes to the stage's log, with what is used instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from stages.contract import ledger
from stages.engines import Inputs, made_by, results
from stages.errors import UserError
from stages.printable import printable
from stages.spec.resolved import Stage
from stages.store import attempts, built_on, evaluated_by, json_file, partials
from stages.store.digest import digest_bytes
from stages.store.manifest import Parent
from stages.train.checkpoint import refuse_other_step

PARENTS, TIER, BEFORE = "parents.json", "tier.json", "before.json"
_TIER: TypeAdapter[results.Tier] = TypeAdapter(results.Tier)


class _Evaluated(json_file.Strict):
    """before.json: what was requested, what was found, and the digest of both."""

    asked: dict[str, Any]
    result: dict[str, Any]
    blake3: str


_EVALUATED, _PARENTS = TypeAdapter(_Evaluated), TypeAdapter(dict[str, Parent])


def checkpoint(stage: Stage, inputs: Inputs) -> Path | None:
    """The whole checkpoint with the most steps: this stage's own, or the end of a phase that it shares; or None."""
    ref, passed = stage.ref, _say_unusable(inputs)
    for steps, folder in _candidates(stage, inputs):
        if problems := _problems(stage, folder, steps):
            print(f"{ref}: a checkpoint is passed over: {printable('; '.join(problems))}")
            passed = True
        elif built_on.same(inputs.layout, _parents_of(folder), inputs.parents):
            print(f"{ref}: goes on after step {steps}, from {folder}")
            return folder
    if passed:
        print(f"{ref}: no checkpoint is whole; begins at the start")
    return None


def before(stage: Stage, inputs: Inputs, step: int) -> Path | None:
    """The whole checkpoint with the most steps among those taken before `step`, counted from 1; or None."""
    for steps, folder in _candidates(stage, inputs):
        whole = steps < step and not _problems(stage, folder, steps)
        if whole and built_on.same(inputs.layout, _parents_of(folder), inputs.parents):
            return folder
    return None


def parents(inputs: Inputs) -> dict[str, dict[str, str]]:
    """What the stage is built on, as its checkpoints say it."""
    return {ref: parent.model_dump() for ref, parent in inputs.parents.items()}


def tier_of(folder: Path) -> results.Tier:
    """What a checkpoint promises. One that does not say was written when there was one rank only."""
    try:
        return json_file.read_as(folder / TIER, _TIER)
    except json_file.MissingFileError:
        return "bit-exact"


def evaluated(inputs: Inputs, requested: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an earlier attempt found when it evaluated the same thing; None if none did."""
    for folder in attempts.folders(inputs.layout, inputs.key):
        path = folder / BEFORE
        try:
            record = json_file.read_as(path, _EVALUATED)
        except json_file.MissingFileError:
            continue
        except json_file.JsonFileError as error:
            print(f"{error}; the model is evaluated again")
            continue
        found = _digest(record.asked, record.result)
        if record.blake3 != found:
            print(printable(f"{path}: expected {record.blake3}, found {found}; the model is evaluated again"))
        elif _as_called_now(record.asked) == requested:
            return record.result
    return None


def _as_called_now(requested: dict[str, Any]) -> dict[str, Any]:
    """What an earlier version requested, the code of its evaluations by the digest that stands for it now."""
    match requested:
        case {"evaluation": {"code": str(code), **evaluation}}:
            return {**requested, "evaluation": {**evaluation, "code": evaluated_by.called(code)}}
        case _:
            return requested


def keep_evaluated(attempt: attempts.Attempt, requested: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Keep an evaluation for the attempts to come."""
    record = {"asked": requested, "result": result, "blake3": _digest(requested, result)}
    json_file.write(attempt.folder / BEFORE, record)


def _digest(requested: Any, result: Any) -> str:
    return digest_bytes(json.dumps([requested, result], sort_keys=True, allow_nan=False).encode())


def _candidates(stage: Stage, inputs: Inputs) -> list[tuple[int, Path]]:
    """Checkpoints with their steps, the most steps first, the stage's own before those that it shares."""
    found = [(partials.step_of(one), one) for one in partials.built_on(inputs.layout, inputs.key, inputs.parents)]
    return sorted([*found, *shared(stage, inputs)], key=lambda one: one[0], reverse=True)


def shared(stage: Stage, inputs: Inputs) -> list[tuple[int, Path]]:
    """Checkpoints at ends of phases, with their steps: of this stage's, and of those that a branch cuts it to."""
    steps, ends = 0, list(inputs.kept.items())
    for phase, key in zip(stage.phases, inputs.phase_keys, strict=True):
        steps += ledger.count(phase)
        ends.append((steps, key))
    found = ((count, inputs.layout.phase_end(key)) for count, key in ends)
    return [(count, folder) for count, folder in found if folder.is_dir()]


def _problems(stage: Stage, folder: Path, steps: int) -> list[str]:
    """What of a checkpoint is not as its list says; else what cannot be read, or is not of this step of the stage."""
    if broken := partials.problems(folder):
        return [str(one) for one in broken]
    try:
        _parents_of(folder), tier_of(folder), made_by.of(folder)
        refuse_other_step(folder, stage, steps)
    except UserError as error:
        return [str(error)]
    return []


def _parents_of(folder: Path) -> dict[str, Parent]:
    return json_file.read_as(folder / PARENTS, _PARENTS)


def _say_unusable(inputs: Inputs) -> bool:
    """Checkpoints of an attempt that cannot say what it was built on; whether there are any."""
    found = [
        attempt
        for attempt in attempts.folders(inputs.layout, inputs.key)
        if attempts.built_on(attempt) is None and partials.listed(attempt)
    ]
    for attempt in found:
        print(f"{attempt / 'attempt.json'}: cannot be read; the checkpoints beside it are passed over")
    return bool(found)
