"""What a stage's engine does not run, known before anything is started."""

from __future__ import annotations

from itertools import chain

from stages.contract import layouts, memory
from stages.contract.hardware import Hardware
from stages.spec.resolved import Stage


def refusal(stage: Stage, hardware: Hardware | None) -> str | None:
    """Why a stage's engine does not train it, in words; None where it does.

    `hardware` is the device that the stage is planned for; None: whether it fits is not checked.
    """
    for misfit in chain(layouts.undivided(stage), layouts.contradictions(stage), layouts.unsupported(stage)):
        return f"{misfit.part} {misfit.observed}; allowed: {misfit.expected}"
    if stage.prepared:
        return None if hardware is None else undivided(stage, hardware)
    corpora = sorted({source.corpus for phase in stage.evaluated_on for source in phase.sources if not source.digest})
    return (
        f"published corpora ({', '.join(corpora)}); allowed: prepared ones, which specs/data declares with a "
        "digest; specs/data/bind.yaml binds published ones to them"
    )


def undivided(stage: Stage, hardware: Hardware) -> str | None:
    """Why whole models are too much for each of several GPUs, in words; None where they are not.

    A rank of the torch engine has all weights and gradients; ranks divide the optimizer's state alone.
    """
    ranks = stage.execution.ranks
    execution = stage.execution
    if execution.engine != "torch" or execution.device == "cpu" or ranks == 1:  # I-42 says what is too much there
        return None
    found = [memory.of(stage, phase, hardware) for phase in stage.phases]
    if all(one.layout != memory.DIVIDED for one in found):
        return None
    return (
        f"weights and gradients that {ranks} ranks have to divide; allowed for the torch engine: what fits whole on "
        f"each {hardware.name}, by plan"
    )
