"""The torch engine: every kind of stage, on one GPU, or on a CPU with any number of ranks."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import nn

from stages import evals
from stages.data.heldout import Heldout
from stages.engines import Inputs, readback, received, results
from stages.engines.card import model_card
from stages.engines.training import Training
from stages.errors import UserError
from stages.guards import reads
from stages.guards import run as guards
from stages.spec.resolved import Stage
from stages.store import attempts, files, json_file, manifest, stage_record
from stages.train.determinism import denormals_flushed, deterministic
from stages.train.ranks import Ranks, joined
from stages.train.stopping import StopRequest, stop_when_asked


def run(stage: Stage, inputs: Inputs) -> None:
    """Run a stage in an attempt of its own and put the result in place.

    import: the user's released weights come in, or a stand-in is trained; train; upcycle: weights and optimizer
    moments through the layer map; keep: a pointer to the parent; export: weights with a model card.
    Raises UserError where the stage's device is not there.
    """
    if stage.execution.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"{stage.pipeline}/{stage.name}: found no GPU here that PyTorch can use; its scale asks for device cuda. "
            "Run it on a machine that has one (docs/cluster.md), or at a scale for CPUs."
        )
    with (
        deterministic(stage.execution),
        denormals_flushed(),
        stop_when_asked() as stop,
        joined(stage.execution.ranks if stage.phases else 1) as ranks,
    ):
        if ranks.first:
            _write(stage, inputs, stop, ranks)
        else:
            Training(stage, inputs, None, stop, ranks).run()


def _write(stage: Stage, inputs: Inputs, stop: StopRequest, ranks: Ranks) -> None:
    """What the first rank does: it holds the attempt, and alone writes."""
    ref = f"{stage.pipeline}/{stage.name}"
    with attempts.start(inputs.layout, ref, inputs.key, inputs.parents, on_lost=stop.ask) as attempt:
        match stage.kind:
            case "keep":
                (parent,) = stage.parents
                results.complete(stage, inputs, attempt, results.inherited_counters(inputs), points_to=parent)
            case "train" | "import" if stage.phases:
                Training(stage, inputs, attempt, stop, ranks).run()
            case "train" | "import" | "upcycle" | "export":
                _pass_on(stage, inputs, attempt)
            case _:
                assert_never(stage.kind)


def _pass_on(stage: Stage, inputs: Inputs, attempt: attempts.Attempt) -> None:
    """A box without training: what it receives, saved under its own RoPE and configuration."""
    modules = received.receive(stage, inputs, torch.device(stage.execution.device))
    results.hold_weights(stage, modules)
    loops = received.loops(stage, inputs)
    results.write_model(stage, modules, loops, attempt.result)
    if stage.kind == "export":
        card = model_card(stage, results.stand_in(stage, inputs), inputs.parents)
        files.write_atomic(attempt.result / "README.md", card.encode())
    state = {} if stage.kind == "export" else received.inherited_state(stage, inputs)
    results.hold_config(stage, attempt.result)
    guards.hold_start(stage, readback.built(stage, inputs, modules, None, state))
    counters = results.inherited_counters(inputs)
    results.write_state(state, counters, attempt.result)
    reads.write_lineage(attempt.result / "state" / reads.FILE, readback.lineage(stage, inputs))
    if stage.evaluation.names and stage.parents:
        _evaluate(stage, inputs, attempt, modules, loops)
    results.complete(stage, inputs, attempt, counters, points_to=None)


def _evaluate(
    stage: Stage, inputs: Inputs, attempt: attempts.Attempt, modules: nn.ModuleDict, loops: int | None
) -> None:
    """Evaluate on the parent's corpora; `before` is what the parent was evaluated at when it was done."""
    parent = manifest.payload(inputs.layout, stage.parents[0])
    phases = stage_record.read(parent).phases
    if loops is not None:
        phases = tuple(
            phase.model_copy(update={"loops": phase.loops and phase.loops.model_copy(update={"count": loops})})
            for phase in phases
        )
    after = evals.run(modules, stage, Heldout(inputs.data_root), phases=phases)
    results.hold_evaluations(stage, after, "as handed on", None)
    known = parent / "eval.json"
    before = json_file.read(known)["after"] if known.is_file() else {}
    json_file.write(attempt.result / "eval.json", {"before": before, "after": after})
