"""The torch engine: every kind of stage, on a CPU or one GPU."""

from __future__ import annotations

import torch

from stages.engines import Inputs, received, results
from stages.engines.card import model_card
from stages.engines.training import Training
from stages.spec.resolved import Stage
from stages.store import attempts, files
from stages.train.determinism import denormals_flushed, deterministic
from stages.train.stopping import NonFiniteError, stop_on_sigterm


def run(stage: Stage, inputs: Inputs) -> None:
    """Run a stage in an attempt of its own and put the result in place.

    import: the user's released weights come in, or a stand-in is trained; train; upcycle: weights and optimizer
    moments through the layer map; keep: a pointer to the parent; export: weights with a model card.
    """
    ref = f"{stage.pipeline}/{stage.name}"
    with (
        deterministic(stage.execution),
        denormals_flushed(),
        stop_on_sigterm() as stop,
        attempts.start(inputs.layout, ref, inputs.key, inputs.parents) as attempt,
    ):
        if stage.kind == "keep":
            (parent,) = stage.parents
            results.complete(stage, inputs, attempt, results.inherited_counters(inputs), points_to=parent)
        elif stage.phases:
            try:
                Training(stage, inputs, attempt, stop).run()
            except NonFiniteError as error:
                attempt.fail(str(error), error.step)
                raise
        else:
            _pass_on(stage, inputs, attempt)


def _pass_on(stage: Stage, inputs: Inputs, attempt: attempts.Attempt) -> None:
    """A box without training: what it receives, saved under its own RoPE and configuration."""
    modules = received.receive(stage, inputs, torch.device("cpu"))
    results.write_model(stage, modules, received.loops(stage, inputs), attempt.result)
    if stage.kind == "export":
        card = model_card(stage, results.stand_in(stage, inputs), inputs.parents)
        files.write_atomic(attempt.result / "README.md", card.encode())
    state = {} if stage.kind == "export" else received.inherited_state(stage, inputs)
    counters = results.inherited_counters(inputs)
    results.write_state(state, counters, attempt.result)
    results.complete(stage, inputs, attempt, counters, points_to=None)
