"""Groups of parameters of an optimizer: each names some, no parameter is in two, and each changes something."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from stages.errors import SpecError
from stages.spec.loader import LoadedPipeline
from stages.spec.nodes import Path
from stages.spec.resolved_training import Group
from stages.spec.schema.stages import RawImport, RawTrain
from stages.spec.validate import several, unknown_name

KEY = "groups"


def groups(pipeline: LoadedPipeline, fields: Mapping[str, Any], name: str) -> dict[str, tuple[Group, ...]]:
    """The groups of an optimizer of pipeline.yaml, under their key; nothing where it has none. Raises InvalidSpecs."""
    if fields.get(KEY) is None:
        return {}
    path = ("optimizers", name, KEY)
    if not fields[KEY]:
        raise pipeline.document.error(path, "an empty list", "one group at least", f"Remove `{KEY}`.")
    resolved = [
        Group(
            name=raw["name"],
            modules=tuple(raw["modules"]) if raw.get("modules") is not None else None,
            of=tuple(raw["of"]),
            lr=float(raw["lr"]),
            weight_decay=float(raw["weight_decay"]),
        )
        for raw in fields[KEY]
    ]
    wrong = list(_wrong(pipeline, resolved, path)) or list(_idle(pipeline, resolved, name, fields["decay"]))
    if wrong:
        raise several(wrong)
    return {KEY: tuple(one.model_copy(update=_in_order(one)) for one in resolved)}


def _in_order(group: Group) -> dict[str, Any]:
    """Its names in an order of their own: how they are listed changes nothing, so no key either."""
    return {"of": tuple(sorted(group.of)), "modules": None if group.modules is None else tuple(sorted(group.modules))}


def _idle(pipeline: LoadedPipeline, resolved: list[Group], name: str, decay: str) -> Iterator[SpecError]:
    """Groups that change no parameter of any stage with this optimizer."""
    trained = dict(_trained(pipeline, name))
    for number, group in enumerate(resolved):
        path = ("optimizers", name, KEY, number)
        models = [model for module, model in trained.items() if group.modules is None or module in group.modules]
        if not models:
            found = f"modules {', '.join(group.modules or ())}, which no stage trains with {name!r}"
            yield pipeline.document.error(path, found, ", ".join(trained), "Name one of them, or remove the group.")
        elif group.of == ("head",) and all(pipeline.raw.models.get(one, {}).get("tied") is True for one in models):
            found = "a head, where the models' embeddings are their head (tied: true)"
            yield pipeline.document.error(path, found, "embeddings, of which a tied head is one", "Write embeddings.")
        elif group.of == ("vectors",) and group.lr == 1 and decay == "matrices":
            found = "a decay of vectors, which `decay: matrices` leaves without"
            yield pipeline.document.error(path, found, "a group that changes something", "Remove it.")


def _trained(pipeline: LoadedPipeline, optimizer: str) -> Iterator[tuple[str, str]]:
    """The modules that an optimizer moves, each with a model that it is."""
    for stage in pipeline.stages.values():
        if isinstance(stage.raw, RawTrain) and stage.raw.optimizer == optimizer:
            yield from ((module, stage.raw.modules.get(module, "")) for module in stage.raw.train)
        if isinstance(stage.raw, RawImport) and stage.raw.stand_in and stage.raw.stand_in.optimizer == optimizer:
            yield from stage.raw.modules.items()


def _wrong(pipeline: LoadedPipeline, resolved: list[Group], path: Path) -> Iterator[SpecError]:
    error, known = pipeline.document.error, _modules(pipeline)
    for number, group in enumerate(resolved):
        for key, names in (("of", group.of), ("modules", group.modules or ())):
            if twice := next((one for one in names if names.count(one) > 1), None):
                yield error((*path, number, key), f"{twice!r} a second time", "each name once", "Remove one.")
        for module in group.modules or ():
            if module not in known:
                yield unknown_name(pipeline.document, (*path, number, "modules"), "module", module, known)
        if (group.lr, group.weight_decay) == (1, 1):
            yield error((*path, number), "lr 1 and weight_decay 1", "a group that changes something", "Remove it.")
        if not group.of or (group.modules is not None and not group.modules):
            yield error((*path, number), "a group of nothing", "parameters in every group", "Name some, or remove it.")
    for (_, one), (number, other) in combinations(enumerate(resolved), 2):
        both = set(one.of) & set(other.of)
        shared = one.modules is None or other.modules is None or set(one.modules) & set(other.modules)
        if one.name == other.name or (both and shared):
            found = f"{other.name!r}, which has {', '.join(sorted(both)) or 'the name'} of {one.name!r} too"
            yield error((*path, number), found, "each parameter in one group, under a name of its own", "Part them.")


def _modules(pipeline: LoadedPipeline) -> list[str]:
    """The modules of all stages that train."""
    stages = (one.raw for one in pipeline.stages.values())
    return list(dict.fromkeys(name for raw in stages if isinstance(raw, (RawTrain, RawImport)) for name in raw.modules))
