"""What a stage receives: its modules with their weights, and the optimizer state that its edges hand over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TypeVar, assert_never

import torch
from torch import Tensor, nn

from stages.engines import Inputs, place
from stages.errors import UserError
from stages.models import build, extend, hf, merge, release, release_config, release_files, upcycle, upcycle_experts
from stages.models.tensor_file import Stored
from stages.spec.resolved import Init, Stage
from stages.spec.resolved_models import LANGUAGE_MODELS, Rope
from stages.store import manifest, stage_record
from stages.train.optimizer import AVERAGE, STEP
from stages.train.ranks import ALONE, Ranks

T = TypeVar("T")


def receive(stage: Stage, inputs: Inputs, device: torch.device, ranks: Ranks = ALONE) -> nn.ModuleDict:
    """Build the stage's modules and fill them as `init` says, module by module.

    Where a release comes in, all ranks must call it.
    """
    with releases(stage, inputs, ranks) as folders:
        return _filled(stage, inputs, device, folders)


def check(stage: Stage, inputs: Inputs, folders: Mapping[str, Path], ranks: Ranks) -> None:
    """Raise UserError, on all ranks, for what `receive` refuses. The first rank of each machine reads every tensor, and
    keeps none.
    """
    _by_first_ranks(ranks, lambda: _filled(stage, inputs, torch.device("meta"), folders))


@contextmanager
def releases(stage: Stage, inputs: Inputs, ranks: Ranks) -> Iterator[dict[str, Path]]:
    """Folder of the release that each module starts from; none where a fresh start stands in for it. All ranks call it.

    Raises UserError for a folder that is missing, or other than the spec says, and for one that changes meanwhile.
    """
    folders = {
        name: release_folder(stage, init, inputs)
        for name, init in stage.init.items()
        if init.weights == "release" and not init.stand_in
    }
    stamps = {folder: release_files.stamps(folder) for folder in folders.values()}
    for name, folder in folders.items():
        release_config.check(stage, name, folder, stage.init[name].architecture)
    if folders:
        _by_first_ranks(ranks, lambda: _check_digests(stage, folders))
    yield folders
    for folder, before in stamps.items():
        release_files.refuse_changed(folder, before)


def _filled(stage: Stage, inputs: Inputs, device: torch.device, released: Mapping[str, Path]) -> nn.ModuleDict:
    modules = build.build(stage, str(device))
    for name, init in stage.init.items():
        match init.weights:
            case "release":
                if name in released:
                    release.load(modules[name], stage.modules[name], released[name])
            case "inherit" if init.extend is not None:
                _extend(name, init, inputs, modules[name])
            case "inherit" if init.average:
                _average(name, init, inputs, modules[name])
            case "inherit":
                load(modules[name], parent_folder(init, inputs), name)
            case "upcycle":
                _upcycle(name, init, inputs, modules[name])
            case "merge":
                _merge(name, stage, inputs, modules[name])
            case "fresh":
                pass  # as built
            case _:
                assert_never(init.weights)
    return modules


def handed_on(stage: Stage, inputs: Inputs, device: torch.device) -> tuple[nn.ModuleDict, dict[str, Tensor]]:
    """What a stage without steps hands on: its modules as it receives them, and the state of an optimizer."""
    modules = receive(stage, inputs, device)
    return modules, {} if stage.kind == "export" else inherited_state(stage, inputs)


def _merge(name: str, stage: Stage, inputs: Inputs, module: nn.Module) -> None:
    """The average of the parents, in the order of their keys: names may change, and no bit does."""
    models = []
    for one in sorted(stage.merge or (), key=lambda one: inputs.parents[one.parent].key):
        folder = manifest.payload(inputs.layout, one.parent)
        models.append((one.parent, Fraction(*one.part), partial(load, module, folder, name)))
    merge.merge(module, models)


def _by_first_ranks(ranks: Ranks, check: Callable[[], object]) -> None:
    """Have the first rank of each machine check files: another machine may have others under the same path. All ranks
    call this, and raise the UserError of the first that found something.
    """
    problem = ""
    if place.first_here():
        try:
            check()
        except UserError as error:
            problem = str(error)
    if wrong := next(filter(None, ranks.texts(problem)), ""):
        raise UserError(wrong)


def _check_digests(stage: Stage, released: Mapping[str, Path]) -> None:
    """Every folder is read in full; three modules may be of one release."""
    folders = {(stage.init[name].release, folder): stage.init[name] for name, folder in released.items()}
    for (_, folder), init in folders.items():
        release.check_digest(init, folder, stage.ref)


def release_folder(stage: Stage, init: Init, inputs: Inputs) -> Path:
    """The user's folder of a released model. Raises UserError where it was not given."""
    folder = inputs.releases.get(init.release or "")
    if folder is None:
        given = ", ".join(sorted(inputs.releases)) or "none"
        raise UserError(
            f"{stage.ref}: needs the released weights {init.release!r}; folders given: {given}. "
            f"Download them in Hugging Face layout into a folder called {init.release}, and name the folder around it: "
            "`stages run --releases FOLDER`, or `snakemake --config releases=FOLDER`."
        )
    return folder


def parent_folder(init: Init, inputs: Inputs) -> Path:
    """The parent's payload; a `keep` stage is followed to what it points to."""
    if init.parent is None:
        raise ValueError(f"weights: {init.weights} without a parent")
    return manifest.payload(inputs.layout, init.parent)


def inherited_state(stage: Stage, inputs: Inputs) -> dict[str, Tensor]:
    """Optimizer state of every module whose `init` says inherit, under this stage's names; upcycled where it must be.

    Raises UserError as `stored_state`.
    """
    state: dict[str, Tensor] = {}
    for name, init in stage.init.items():
        stored = stored_state(stage, name, inputs)
        if stored is None:
            continue
        found = dict(stored)
        if init.extend is not None and init.rows is not None:
            found = extend.moments(found, stage.modules[name], init.rows)
        state |= found if init.layer_map is None else _upcycled_state(stage, name, init, init.layer_map, found)
    return state


def stored_state(stage: Stage, name: str, inputs: Inputs) -> Stored | None:
    """The optimizer state that a module takes over, in its parent's file and shapes; None where it begins without.

    Raises UserError where the parent has none: an optimizer is never silently started again.
    """
    init = stage.init[name]
    if init.optimizer != "inherit" or init.parent is None:
        return None
    path = parent_folder(init, inputs) / "state" / "optimizer.safetensors"
    if not path.is_file():
        raise UserError(
            f"{stage.ref}: inherits the optimizer of module {name!r} from {init.parent}, which "
            f"has none ({path}). Write `optimizer: reset`."
        )
    found = {key: path for key in Stored.of(path) if key.startswith(f"{name}.")}
    return Stored(found if takes_averages(stage, init) else without_averages(found))


def takes_averages(stage: Stage, init: Init) -> bool:
    """Whether averages of weights come in with a module's optimizer state, where the parent has them."""
    if init.extend is not None or init.experts is not None:
        return False
    return stage.optimizer is None or stage.optimizer.ema is not None


def without_averages(state: Mapping[str, T]) -> dict[str, T]:
    """What belongs to the names of an optimizer's state that are none of averages."""
    return {key: one for key, one in state.items() if not key.endswith(f".{AVERAGE}")}


def _upcycled_state(
    stage: Stage, name: str, init: Init, layer_map: tuple[int, ...], found: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Moments go where their parameters go: "<module>.<parameter>.<moment>" is a name inside or outside the layers."""
    parameters = dict(build.make(stage.modules[name], stage.rope, "meta").named_parameters())
    if init.experts is not None:
        return upcycle_experts.moments(found, name, {key: one.shape for key, one in parameters.items()}, STEP)
    moments = {key.rpartition(".")[2] for key in found}
    children = [f"{name}.{parameter}.{moment}" for parameter in parameters for moment in sorted(moments)]
    sources = upcycle.source_names([*children, f"{name}.{STEP}"], layer_map)
    return {child: found[source].clone() for child, source in sources.items() if source in found}


def parent_stage(init: Init, inputs: Inputs) -> Stage:
    """The resolved stage that a parent was run with."""
    return stage_record.read(parent_folder(init, inputs))


def parent_rope(stage: Stage, inputs: Inputs) -> Rope | None:
    """The RoPE that the language model was handed over with; the stage's own where it starts from nothing."""
    for name, init in stage.init.items():
        if stage.modules[name].family in LANGUAGE_MODELS and init.parent is not None:
            return parent_stage(init, inputs).rope
    return stage.rope


def load(module: nn.Module, folder: Path, name: str) -> None:
    """Fill a module from a parent's result, from the files that its manifest lists."""
    hf.load(module, folder / "model" / name, manifest.weights(folder, name))


@torch.no_grad()
def _average(name: str, init: Init, inputs: Inputs, module: nn.Module) -> None:
    """The average of every parameter, from the parent's optimizer state; what is no parameter (a router's bias, which
    no gradient moves) as the parent left it. Raises UserError where an average is missing or has another shape.
    """
    folder = parent_folder(init, inputs)
    load(module, folder, name)
    path = folder / "state" / "optimizer.safetensors"
    stored = Stored.of(path) if path.is_file() else {}
    for key, parameter in module.named_parameters():
        found = stored.get(f"{name}.{key}.{AVERAGE}")
        if found is None or found.shape != parameter.shape:
            there = "none" if found is None else f"one of shape {list(found.shape)}"
            raise UserError(
                f"{path}: average of {name}.{key}: found {there}; allowed: one of shape {list(parameter.shape)}. "
                f"Run {init.parent} again with `ema`, or write `weights: inherit`."
            )
        parameter.copy_(found)


def _upcycle(name: str, init: Init, inputs: Inputs, module: nn.Module) -> None:
    if init.layer_map is None:
        raise ValueError(f"module {name}: upcycle without a layer map")
    parent = parent_stage(init, inputs)
    source = build.make(parent.modules[name], parent.rope, "cpu")
    load(source, parent_folder(init, inputs), name)
    drawn = module.state_dict()
    if init.experts is not None:
        module.load_state_dict(upcycle_experts.upcycle(source.state_dict(), drawn))
        return
    shapes = {key: tensor.shape for key, tensor in drawn.items()}
    module.load_state_dict(upcycle.upcycle(source.state_dict(), shapes, init.layer_map))


def _extend(name: str, init: Init, inputs: Inputs, module: nn.Module) -> None:
    """The parent's weights, with rows for the new tokens in the tables of words."""
    if init.extend is None or init.rows is None:
        raise ValueError(f"module {name}: extended without a rule")
    parent = parent_stage(init, inputs)
    source = build.make(parent.modules[name], parent.rope, next(module.parameters()).device.type)
    load(source, parent_folder(init, inputs), name)
    module.load_state_dict(extend.extended(source.state_dict(), module.state_dict(), init.rows, init.extend))
