"""Where each module's weights and optimizer state come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from stages.errors import SpecError
from stages.spec import averages, copies
from stages.spec.averages import AVERAGE
from stages.spec.graph import parent_of
from stages.spec.hand_over import Node
from stages.spec.layer_maps import layer_map
from stages.spec.loader import LoadedStage
from stages.spec.nodes import Path
from stages.spec.points import ALL
from stages.spec.resolved import Init
from stages.spec.resolved_models import LANGUAGE_MODELS, Model
from stages.spec.schema.stages import RawExport, RawImport, RawMerge, RawTrain, RawUpcycle
from stages.spec.scope import Scope

_NEW_ROWS: Mapping[str, Literal["mean", "fresh"]] = {"mean": "mean", "fresh": "fresh"}  # how those of new tokens begin


def inits(
    scope: Scope, loaded: LoadedStage, modules: Mapping[str, Model], above: Mapping[str, Node]
) -> dict[str, Init]:
    """One Init per module; `above` are the stage's parents. Raises SpecError."""
    raw = loaded.raw
    if isinstance(raw, RawImport):
        return {module: _release(scope, raw.release) for module in modules}
    return {module: _init(scope, loaded, module, modules, above) for module in modules}


def _init(
    scope: Scope, loaded: LoadedStage, module: str, modules: Mapping[str, Model], above: Mapping[str, Node]
) -> Init:
    raw = loaded.raw
    if not isinstance(raw, (RawTrain, RawUpcycle)):
        if isinstance(raw, RawMerge):
            return Init(weights="merge", parent=None, release=None, optimizer="reset", layer_map=None, stand_in=False)
        (parent,) = above.values()
        average = _exported(loaded, raw, module, parent) if isinstance(raw, RawExport) else None
        return Init(
            weights="inherit", parent=parent.ref, release=None, optimizer="reset" if average else "inherit",
            layer_map=None, stand_in=False, average=average,
        )  # fmt: skip
    _known(loaded, raw, modules)
    how, _, name = str(raw.init.weights.get(module, raw.init.weights.get(ALL, "nothing"))).partition(":")
    match how:
        case "release":
            return _release(scope, name)
        case "fresh":
            return Init(weights="fresh", parent=None, release=None, optimizer="reset", layer_map=None, stand_in=False)
        case "inherit" | "upcycle" | "average":
            return _handed(scope, loaded, module, modules, above, how, name)
        case "extend":
            return _handed(scope, loaded, module, modules, above, "inherit", name)
        case _:
            raise _unsaid(loaded, module)


def _unsaid(loaded: LoadedStage, module: str) -> SpecError:
    return loaded.document.error(
        ("init", "weights"), f"nothing for {module}", "weights for every module", f"Add `{module}: ...`.", "I-06"
    )


def _handed(
    scope: Scope,
    loaded: LoadedStage,
    module: str,
    modules: Mapping[str, Model],
    above: Mapping[str, Node],
    how: Literal["inherit", "upcycle", "average"],
    name: str,
) -> Init:
    """From a parent, as it is or made larger; `name` says how layers are copied."""
    raw = loaded.raw
    assert isinstance(raw, (RawTrain, RawUpcycle))
    parent_name = parent_of(loaded, module)
    if parent_name is None:
        raise loaded.document.error(
            ("init", "from"), f"no parent for {module}", "a parent for what inherits", "Add it to `from`.", "I-06"
        )
    parent = above[parent_name]
    if module not in parent.stage.modules:
        allowed = ", ".join(parent.stage.modules)
        raise loaded.document.error(
            ("init", "from"), f"{module!r}, which {parent_name} does not have", allowed, "Correct the edge.", "I-06"
        )
    if (how == "upcycle") != isinstance(raw, RawUpcycle):
        raise loaded.document.error(
            ("init", "weights"), how, "upcycle in stages of kind upcycle, and only there", "Correct the kind."
        )
    child, before = modules[module], parent.stage.modules[module]
    copied = None
    if how == "upcycle":
        copied = layer_map(loaded, module, name, before, child, full=scope.scale.shrink is None)
    else:
        _same_model(loaded, module, before, child, parent_name, extended=bool(name))
    if how == AVERAGE:
        averages.check(loaded, module, parent)
    return Init(
        weights="upcycle" if how == "upcycle" else "inherit", parent=parent.ref, release=None,
        optimizer=_restored(loaded, raw, module, how, parent), layer_map=copied, stand_in=False,
        extend=_NEW_ROWS.get(name) if how == "inherit" else None, average=True if how == AVERAGE else None,
        experts="copies" if how == "upcycle" and name == copies.EXPERTS else None,
    )  # fmt: skip


def _restored(
    loaded: LoadedStage, raw: RawTrain | RawUpcycle, module: str, how: str, parent: Node
) -> Literal["inherit", "reset"]:
    """What becomes of the optimizer's state of a module that a parent hands over. Raises SpecError."""
    restored = raw.init.optimizer.get(module, raw.init.optimizer.get(ALL))
    if isinstance(raw, RawTrain) and module not in raw.train:
        restored = "reset"  # what is frozen has no optimizer state
    if restored is None:
        raise loaded.document.error(
            ("init", "optimizer"), f"nothing for {module}", "inherit or reset for every trained module that inherits",
            f"Add `{module}: ...`.", "I-06",
        )  # fmt: skip
    if restored == "inherit" and how == AVERAGE:
        raise averages.moments(loaded, module, raw.init.optimizer)
    if restored == "inherit" and parent.stage.kind == "merge":
        raise loaded.document.error(
            ("init", "optimizer"), f"inherit from {parent.stage.name}, a merge",
            "reset: a merge has no optimizer state",
            "Write `optimizer: reset`, with a schedule that warms up.", "I-15",
        )  # fmt: skip
    return restored


def _same_model(
    loaded: LoadedStage, module: str, parent: Model, child: Model, parent_name: str, extended: bool
) -> None:
    """Raise SpecError unless a module's model is its parent's, or that with more rows where it is `extended`."""
    if extended:
        _extends(loaded, module, parent, child)
    elif parent != child:
        raise loaded.document.error(
            ("modules", module), f"another model than {parent_name}'s", "the parent's model for what inherits",
            "Name the same model, extend the vocabulary, or upcycle.",
        )  # fmt: skip


def _exported(loaded: LoadedStage, raw: RawExport, module: str, parent: Node) -> Literal[True] | None:
    """True where an export takes the average of a module. Raises SpecError where the parent has none."""
    written = raw.init.weights
    if unknown := next((one for one in written if one != ALL and one not in parent.stage.modules), None):
        raise loaded.document.error(
            ("init", "weights", unknown), f"the unknown module {unknown!r}", ", ".join(parent.stage.modules),
            "Correct the name.",
        )  # fmt: skip
    how = written.get(module, written.get(ALL, "nothing" if written else "inherit"))
    if how == "nothing":
        raise _unsaid(loaded, module)
    if how == AVERAGE:
        averages.check(loaded, module, parent)
        return True
    return None


def _extends(loaded: LoadedStage, module: str, parent: Model, child: Model) -> None:
    """Raise SpecError unless the child is the parent's language model with as many rows in its tables, or more."""
    before, after = getattr(parent, "vocab", None), getattr(child, "vocab", None)
    same = child.model_dump(exclude={"vocab"}) == parent.model_dump(exclude={"vocab"})
    if before is None or after is None or after < before or not same or child.family not in LANGUAGE_MODELS:
        raise loaded.document.error(
            ("modules", module), f"a model with a vocabulary of {after}",
            f"the parent's language model, with its vocabulary of {before} or a larger one", "Correct the model.",
        )  # fmt: skip


def _release(scope: Scope, name: str) -> Init:
    """A release, with the digest that is declared for it; a fresh start where the scale does not have it."""
    given, declared = scope.raw_scale.has_releases, scope.data.releases.get(name)
    return Init(
        weights="release" if given else "fresh",
        parent=None,
        release=name,
        optimizer="reset",
        layer_map=None,
        stand_in=not given,
        digest=declared.digest if given and declared is not None else None,
        architecture=declared.architecture if given and declared is not None else None,
    )


def _known(loaded: LoadedStage, raw: RawTrain | RawUpcycle, modules: Mapping[str, Model]) -> None:
    """The edge names the stage's modules only, and of parents of which something is taken."""
    for key, named in (("from", raw.init.from_), ("weights", raw.init.weights), ("optimizer", raw.init.optimizer)):
        for module in named:
            if module != ALL and module not in modules:
                found = f"the unknown module {module!r}"
                raise loaded.document.error(("init", key, module), found, ", ".join(modules), "Correct the name.")
    for module, parent in raw.init.from_.items():
        takers = modules if module == ALL else (module,)
        ways = {str(raw.init.weights.get(one, raw.init.weights.get(ALL, "nothing"))) for one in takers}
        if not any(way.startswith(("inherit", AVERAGE, "upcycle", "extend", "nothing")) for way in ways):
            at: Path = ("init", "from") if module == ALL else ("init", "from", module)
            found, allowed = f"{parent!r}, of which nothing is taken", "parents whose weights a module inherits"
            raise loaded.document.error(at, found, allowed, "Inherit the weights, or leave the parent out.", "I-06")
