"""Groups of parameters of an optimizer: each names some, no parameter is in two, and each changes something."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from stages.errors import SpecError
from stages.spec.loader import LoadedPipeline
from stages.spec.nodes import Path
from stages.spec.resolved_training import Group
from stages.spec.schema import RawImport, RawTrain
from stages.spec.validate import meant, several

KEY = "groups"


def groups(pipeline: LoadedPipeline, fields: Mapping[str, Any], name: str) -> dict[str, tuple[Group, ...]]:
    """The groups of an optimizer of pipeline.yaml, under their key; nothing where it has none. Raises SpecError(s)."""
    if fields.get(KEY) is None:
        return {}
    made = [
        Group(
            name=raw["name"],
            modules=tuple(raw["modules"]) if raw.get("modules") is not None else None,
            of=tuple(raw["of"]),
            lr=float(raw["lr"]),
            weight_decay=float(raw["weight_decay"]),
        )
        for raw in fields[KEY]
    ]
    wrong = list(_wrong(pipeline, made, ("optimizers", name, KEY)))
    if wrong:
        raise several(wrong)
    return {KEY: tuple(made)}


def _wrong(pipeline: LoadedPipeline, made: list[Group], path: Path) -> Iterator[SpecError]:
    error, known = pipeline.document.error, _modules(pipeline)
    for number, group in enumerate(made):
        for module in group.modules or ():
            if module not in known:
                place = (*path, number, "modules")
                yield error(place, f"the unknown module {module!r}", ", ".join(known), meant(module, known))
        if (group.lr, group.weight_decay) == (1, 1):
            yield error((*path, number), "lr 1 and weight_decay 1", "a group that changes something", "Remove it.")
        if not group.of or (group.modules is not None and not group.modules):
            yield error((*path, number), "a group of nothing", "parameters in every group", "Name some, or remove it.")
    for (_, one), (number, other) in combinations(enumerate(made), 2):
        both = set(one.of) & set(other.of)
        shared = one.modules is None or other.modules is None or set(one.modules) & set(other.modules)
        if one.name == other.name or (both and shared):
            found = f"{other.name!r}, which has {', '.join(sorted(both)) or 'the name'} of {one.name!r} too"
            yield error((*path, number), found, "each parameter in one group, under a name of its own", "Part them.")


def _modules(pipeline: LoadedPipeline) -> list[str]:
    """The modules of all stages that train."""
    stages = (one.raw for one in pipeline.stages.values())
    return list(dict.fromkeys(name for raw in stages if isinstance(raw, (RawTrain, RawImport)) for name in raw.modules))
