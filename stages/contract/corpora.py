"""Which stages the torch engine can train: those whose corpora are on this machine."""

from __future__ import annotations

from stages.spec.resolved import Stage


def prepared(stage: Stage) -> bool:
    """Whether all that the stage is trained or evaluated on are local corpora: published ones have no digest."""
    return all(source.digest for phase in stage.evaluated_on for source in phase.sources)
