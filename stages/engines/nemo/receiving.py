"""What a stage receives, into this rank's parameters: weights as its `init` says, and the moments that edges hand over.

Every rank reads or draws its own parts alone. Before that, the first rank of each machine checks that what comes in is
what the stage needs, and keeps nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import assert_never

import torch
from torch import Tensor

from stages.engines import Inputs, received
from stages.engines.nemo import handover, parts
from stages.engines.nemo.local import Owned
from stages.engines.nemo.parts import Read, Shapes
from stages.models import extend, hf_files
from stages.models.tensor_file import Stored
from stages.spec.resolved import Stage
from stages.store import manifest
from stages.train.optimizer import STEP, fits
from stages.train.ranks import Ranks


def weights(stage: Stage, inputs: Inputs, parameters: Sequence[Owned], shapes: Shapes, ranks: Ranks) -> None:
    """Fill the parameters with what the stage begins with. All ranks call it.

    Raises UserError where a parent or a released model is not what the stage needs.
    """
    with received.releases(stage, inputs, ranks) as released:
        received.check(stage, inputs, released, ranks)
        source = {name: _first(stage, name, inputs, shapes, released.get(name)) for name in stage.init}
        handover.load_weights(parameters, shapes, _by_module(source))


def result(stage: Stage, folder: Path, parameters: Sequence[Owned], shapes: Shapes) -> None:
    """Fill the parameters with the weights of a finished result."""
    source = {name: parts.from_file(_stored(name, folder), shapes) for name in stage.modules}
    handover.load_weights(parameters, shapes, _by_module(source))


def state(
    stage: Stage, inputs: Inputs, parameters: Sequence[Owned], shapes: Shapes, wanted: Mapping[str, Tensor]
) -> None:
    """Give this rank's torch optimizers the moments that edges hand over; `wanted` says which there have to be.

    Raises UserError for moments of another model or optimizer, and where a parent has none.
    """
    for name, init in stage.init.items():
        stored = received.stored_state(stage, name, inputs)
        if stored is None or name not in stage.trained:
            continue
        found = {key: torch.empty(stored.shape(key), device="meta") for key in stored}
        read: Read = stored.part
        if init.rows is not None:
            found = extend.moments(found, stage.modules[name], init.rows)
            read = parts.grown(read, init.rows, parts.zeros)
        fits(wanted, found, name, str(init.parent))
        handover.load_state(parameters, shapes, read, name, int(stored[f"{name}.{STEP}"]))


def _first(stage: Stage, name: str, inputs: Inputs, shapes: Shapes, released: Path | None) -> Read:
    """Parts of a module's first weights."""
    init, model = stage.init[name], stage.modules[name]
    fresh = parts.drawn(name, model, stage.seed, shapes)
    match init.weights:
        case "fresh":
            return fresh
        case "release":
            return fresh if released is None else parts.from_release(name, model, released, shapes)
        case "inherit":
            stored = _stored(name, received.parent_folder(init, inputs))
            parent = parts.from_file(stored, shapes)
            if init.rows is None:
                return parent
            return parts.grown(parent, init.rows, fresh if init.extend == "fresh" else parts.mean(stored, init.rows))
        case "upcycle" | "merge":
            raise ValueError(f"{stage.ref}: {init.weights} in a stage that trains")
        case _:
            assert_never(init.weights)


def _stored(name: str, folder: Path) -> Stored:
    """Weights of a module in a folder of a result."""
    return Stored(hf_files.tensors(manifest.weights(folder, name)))


def _by_module(reads: Mapping[str, Read]) -> Read:
    return lambda target, place: reads[target.partition(".")[0]](target, place)
