"""The torch engine: every kind of stage, on CPUs or GPUs, what trains with any number of ranks.

Every rank has the whole model. Several GPUs have never been executed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import assert_never

from stages.engines import Inputs, agreed, device, evaluation, looping, place, readback, received, results
from stages.engines.card import model_card
from stages.engines.torch_trainer import TorchTrainer
from stages.engines.training import Training
from stages.guards import reads
from stages.guards import run as guards
from stages.spec.resolved import Stage
from stages.store import attempts, files
from stages.train.determinism import FAST, denormals_flushed, deterministic
from stages.train.ranks import Ranks, joined
from stages.train.stopping import StopRequest, stop_when_asked


def run(stage: Stage, inputs: Inputs) -> None:
    """Run a stage in an attempt of its own and put the result in place.

    import: the user's released weights come in, or a stand-in is trained; train; upcycle: weights and optimizer
    moments through the layer map; keep: a pointer to the parent; export: weights with a model card.
    Raises UserError where the stage's device is not there, or not one for each rank, and where ranks differ.
    """
    with deterministic(stage.execution), denormals_flushed(), stop_when_asked() as stop, _met(stage) as ranks:
        if stage.phases and not stage.execution.exact and ranks.first:
            print(f"{stage.ref}: {FAST}")
        if ranks.first:
            _write(stage, inputs, stop, ranks)
        else:
            Training(stage, inputs, None, stop, ranks, TorchTrainer).run()


@contextmanager
def _met(stage: Stage) -> Iterator[Ranks]:
    here = place.of(stage)  # within `deterministic`: CUDA may start here
    with joined(stage.execution.ranks if stage.phases else 1, here.device, here.backend) as ranks:
        agreed.check(stage, ranks)
        yield ranks


def _write(stage: Stage, inputs: Inputs, stop: StopRequest, ranks: Ranks) -> None:
    """What the first rank does: it has the attempt, and alone writes."""
    ref = stage.ref
    with attempts.start(inputs.layout, ref, inputs.key, inputs.parents, on_lost=stop.ask) as attempt:
        match stage.kind:
            case "keep":
                (parent,) = stage.parents
                counters = results.inherited_counters(inputs)
                promised = results.promise(stage, inputs)
                results.complete(stage, inputs, attempt, counters, parent, place.machine(ranks), promised)
            case "train" | "import" if stage.phases:
                Training(stage, inputs, attempt, stop, ranks, TorchTrainer).run()
            case "train" | "import" | "upcycle" | "merge" | "export":
                _pass_on(stage, inputs, attempt, ranks)
            case _:
                assert_never(stage.kind)


def _pass_on(stage: Stage, inputs: Inputs, attempt: attempts.Attempt, ranks: Ranks) -> None:
    """A stage without training: what it receives, saved under its own RoPE and configuration."""
    modules, state = received.handed_on(stage, inputs, device.of(stage))
    results.check_weights(stage, modules)
    loops = looping.loops(stage, inputs)
    results.write_model(stage, modules, loops, attempt.result)
    if stage.kind == "export":
        card = model_card(stage, results.stand_in(stage, inputs), inputs.parents)
        files.write_atomic(attempt.result / "README.md", card.encode())
    results.check_config(stage, attempt.result)
    guards.check_start(stage, readback.built(stage, inputs, modules, None, state.items()))
    counters = results.inherited_counters(inputs)
    results.write_state(state, counters, attempt.result)
    reads.write_lineage(attempt.result / "state" / reads.FILE, readback.lineage(stage, inputs))
    if stage.evaluation.names and (stage.evaluated_on or stage.parents):
        evaluation.write(attempt.result, stage, evaluation.not_trained(stage, inputs, modules, loops))
    results.complete(stage, inputs, attempt, counters, None, place.machine(ranks), results.promise(stage, inputs))
