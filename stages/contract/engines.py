"""What the engine does not run, known before anything is started."""

from __future__ import annotations

from stages.spec.resolved import Stage


def refusal(stage: Stage) -> str | None:
    """Why the torch engine does not train a stage, in words; None where it does."""
    ranks, device = stage.execution.ranks, stage.execution.device
    if stage.phases and ranks > 1 and device != "cpu":
        return f"{ranks} ranks, device {device}; allowed for the torch engine: one rank, or several on CPUs"
    return None


def prepared(stage: Stage) -> bool:
    """Whether all that the stage reads are local corpora: published ones have no digest, and are not read here."""
    return all(source.digest for phase in stage.phases for source in phase.sources)
