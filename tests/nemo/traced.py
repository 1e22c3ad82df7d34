"""`python -m tests.nemo.traced LIBRARY PIPELINE/STAGE PHASE LAYERS OBJECTIVE`: a micro-batch and an update as on GPUs.

Of a stage of scale `paper`, on its first rank, at its number of ranks; JSON on the output. With LAYERS, `shortened`;
with the objective `preference`, `preferring`; "" for as it is.
Nothing is computed and nothing is sent: tensors are fake, with a device, a type and a shape, and collectives return at
once. What is executed is Bridge's own validation, Core's code and ours as on a GPU, with every layer. `watch` of
tests/traced looks for factors of two types, operations without a deterministic form and views that FlashAttention
cannot read; `Alive` counts bytes. Experts take equally many tokens; a row has three documents and, where there are
images, half of its positions are theirs.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np

from tests.traced import device

ROOT = Path(__file__).parents[2]
DOCUMENTS, PAIRED, SIDE = 3, 4, 448


def main(library: str, ref: str, phase: str, layers: str, objective: str) -> None:
    device.load(Path(library))
    from stages.spec.project import Project

    pipeline, _, name = ref.partition("/")
    stage = Project.load(ROOT).resolve(pipeline, "paper").stages[name]
    stage = shortened(preferring(stage, objective), int(layers) if layers else None)
    os.environ.update(RANK="0", LOCAL_RANK="0", LOCAL_WORLD_SIZE="8", WORLD_SIZE=str(stage.execution.ranks))
    warnings.filterwarnings("ignore")
    with contextlib.redirect_stdout(sys.stderr):
        found = trace(stage, int(phase))
    print(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # a group of ranks that are not there has nothing to take leave of


def shortened(stage: Any, layers: int | None) -> Any:
    """The stage with one sequence in a micro-batch, and no module of more layers than that."""
    if layers is None:
        return stage
    modules = {
        name: model.model_copy(update={"layers": min(layers, model.layers)}) if hasattr(model, "layers") else model
        for name, model in stage.modules.items()
    }
    phases = tuple(phase.model_copy(update={"micro_batch": 1}) for phase in stage.phases)
    return stage.model_copy(update={"modules": modules, "phases": phases})


def preferring(stage: Any, objective: str) -> Any:
    """The stage with pairs of answers in its rows, where that is the objective."""
    if not objective:
        return stage
    from stages.spec.resolved_phases import Preference

    settings = Preference(loss="dpo", beta=0.1, answers="sum", turn_ends="learned", nll=0.2)
    changes = {"objective": objective, "packing": "whole", "document_mask": True, "preference": settings}
    return stage.model_copy(update={"phases": tuple(phase.model_copy(update=changes) for phase in stage.phases)})


def trace(stage: Any, number: int) -> dict[str, Any]:
    """Bytes of what is built, at the worst moments of the passes, the update and a checkpoint; and what is odd."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from stages.engines.nemo import absent, variables
    from stages.train.determinism import deterministic
    from tests.nemo import traced_gpu

    traced_gpu.answer_cuda()
    variables.set_all(stage)
    absent.imported()
    rows = samples(stage, stage.phases[number])
    traced_gpu.answer_megatron(stage, stage.phases[number], rows)
    alive, watch = traced_gpu.Alive(), traced_gpu.Odd()
    with FakeTensorMode(allow_non_fake_inputs=True), alive, deterministic(stage.execution):
        made = _built(stage)
        found: dict[str, Any] = {"built": alive.now}
        alive.peak = alive.now
        with watch:
            _step(stage, stage.phases[number], made, rows)
        found |= {"passes": alive.peak}
        alive.peak = alive.now
        with watch:
            _evaluation(stage, stage.phases[number], made, rows)
        found |= {"evaluation": alive.peak}
        alive.peak = alive.now
        with (
            watch,
            patch.object(torch.Tensor, "__float__", lambda _: 1.0),
            patch.object(torch.Tensor, "item", lambda _: 1.0),
        ):
            made.mover.clip()
            made.mover.step(1e-4)
        found |= {"update": alive.peak}
        alive.peak = alive.now
        from stages.engines.nemo import shards

        shards.describe(made.chunks, made.mover.owned, loading=False)
        return found | {"checkpoint": alive.peak, "odd": sorted(watch.found)}


def _built(stage: Any) -> Any:
    """The model on this rank, and the optimizer with its moments."""
    import torch
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    from stages.engines.nemo import frozen, groups, provider
    from stages.engines.nemo.optimizer import Mover

    dist.init_process_group("fake", rank=0, world_size=stage.execution.ranks, store=FakeStore())
    groups._divide(stage)
    chunks = provider.build(stage, provider.configured(stage))
    mover = Mover(stage, chunks)
    for one in mover.owned:
        if one.inner is not None:
            for moment in one.moments:
                one.take(moment, torch.zeros(one.stop - one.start, device="cuda"))
            one.count(0)
    return SimpleNamespace(chunks=chunks, mover=mover, reference=frozen.beside(stage, chunks))


def _step(stage: Any, phase: Any, made: Any, rows: list[Any]) -> None:
    """Forward and backward pass of a micro-batch, and what is summed over the ranks."""
    import torch

    from stages.engines.nemo import data, families
    from stages.engines.nemo.step import Steps
    from stages.train.ranks import Ranks

    gpu = torch.device("cuda", 0)
    work = families.training(stage, phase, made.chunks, made.reference)
    given = SimpleNamespace(samples=lambda *_: rows)
    steps = Steps(stage, phase, made.chunks, made.mover, work, given, Ranks(0, 1, gpu))
    here = steps._share
    share = data.Share(0, 1, here.context, here.contexts, here.together)
    work.begin(rows)
    micros = work.prepare(data.micro_batches(rows, phase, share, gpu))
    for chunk in made.chunks:
        chunk.zero_grad_buffer()
    made.mover.zero()
    steps._pass(micros, backward=True)


def _evaluation(stage: Any, phase: Any, made: Any, rows: list[Any]) -> None:
    """Losses of as many rows at once as there are at most, and logits at the end of each."""
    import torch

    from stages.engines.nemo.data import Share
    from stages.engines.nemo.divided import Divided
    from stages.train.ranks import Ranks

    model = Divided(stage, made.chunks, Ranks(0, 1, torch.device("cuda", 0)))
    everywhere = rows * Share.here().replicas
    with torch.no_grad(), model.evaluating():
        for _ in model.losses(everywhere, phase):
            pass
        model.logits(everywhere, [range(len(one.tokens) - 1, len(one.tokens)) for one in everywhere], phase)


def samples(stage: Any, phase: Any) -> list[Any]:
    """A micro-batch of full rows."""
    from stages.data.document import IMAGE
    from stages.data.loading.sample import Image, Sample

    length = phase.context
    documents = DOCUMENTS if phase.preference is None else PAIRED
    segments = np.repeat(np.arange(documents), -(-length // documents))[:length].astype(np.int32)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(segments)) + 1])
    tokens = np.arange(1000, 1000 + length) % 4096 + 1000
    images: tuple[Image, ...] = ()
    if phase.objective == "joint":
        vit, merge = stage.modules["vit"], stage.modules["projector"].merge
        each = (SIDE // vit.patch // merge) ** 2
        images = (Image(pixels=np.zeros((SIDE, SIDE, vit.channels), np.float32)),) * (length // 2 // each)
        tokens[: len(images) * each] = IMAGE
    labels = np.where(tokens == IMAGE, -100, tokens)
    places = np.arange(length) - starts[segments]
    return [Sample(tokens, labels, segments, places, images, ())] * phase.micro_batch


if __name__ == "__main__":
    main(*sys.argv[1:])
