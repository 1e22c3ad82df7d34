"""Megatron-LM's arguments as a mapping of a YAML file, `MODEL_ARGS: {--train-iters: 1000}`, as its tests have them.

NVIDIA/Megatron-LM d98e8a64, tests/functional_tests: a flag with `true` is one without a value, with `false` it is none.
"""

from __future__ import annotations

from stages.audit.readers.megatron_flags import FIGURES, LISTS, MARKS, SWITCHES, TRAINS
from stages.audit.readers.tables import blend
from stages.audit.readers.tree import Path, Tree
from stages.audit.recipe import PATHS, Stage, Value, scalar
from stages.errors import Where
from stages.printable import printable

_SECTION = "MODEL_ARGS"


def stages(tree: Tree, name: str) -> list[Stage]:
    """The run that the mapping describes: three settings of a run that trains."""
    flags = set(map(str, tree.below((_SECTION,))))
    if len(flags & MARKS) < 3 or not flags & TRAINS:
        return []
    values: dict[str, Value] = {}
    for flag in sorted(flags):
        path: Path = (_SECTION, flag)
        value = tree.value(path, flag)
        if value is None or value.value is False:
            continue
        if flag in SWITCHES:
            values[SWITCHES[flag]] = Value(True, value.where, flag)
        elif flag in LISTS:
            values |= _listed(flag, value)
        elif flag in FIGURES:
            kept = FIGURES[flag] in PATHS and value.unknown is not None
            text = printable(tree.leaves[path].text or "")
            values[FIGURES[flag]] = Value(text, value.where, flag) if kept else value
    where = tree.places.get((_SECTION,), Where(name, 1))
    return [Stage(name, "megatron-lm", where, tuned(values))]


def tuned(values: dict[str, Value]) -> dict[str, Value]:
    """The figures with what `--sft` says: that answers are learned."""
    tuning = values.pop("sft", None)
    return values if tuning is None else values | {"objective": Value("sft", tuning.where, tuning.key)}


def _listed(flag: str, value: Value) -> dict[str, Value]:
    words = str(value.value).split() if value.unknown is None else []
    if LISTS[flag] == "ramp":
        return {"ramp": Value(tuple(map(scalar, words)), value.where, flag)}
    mixed = blend(words)
    if mixed is None:
        return {LISTS[flag]: Value(tuple(words) or None, value.where, flag, value.unknown)}
    shares = {} if LISTS[flag] == "eval_data" else {"data_weights": Value(mixed[0], value.where, flag)}
    return shares | {LISTS[flag]: Value(mixed[1], value.where, flag)}
