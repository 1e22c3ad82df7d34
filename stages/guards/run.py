"""All guards by the moment at which they hold, and which invariant each is for."""

from __future__ import annotations

from stages.guards import end, start
from stages.guards.findings import refuse
from stages.guards.report import BuiltReport, ConfigReport, EndReport
from stages.spec.resolved import Stage

AT_START = (start.learning_rates, start.frequencies, start.restored, start.gradients)
AT_END = (
    end.budgets, end.rates, end.frozen, end.nothing_twice, end.supervision, end.mixture, end.exits,
)  # fmt: skip
AT_EXPORT = (end.written_config,)


def hold_start(stage: Stage, report: BuiltReport) -> None:
    """Raise GuardError unless what was built is what the stage says."""
    refuse(finding for guard in AT_START for finding in guard(stage, report))


def hold_end(stage: Stage, report: EndReport) -> None:
    """Raise GuardError unless what was done is what the stage says."""
    refuse(finding for guard in AT_END for finding in guard(stage, report))


def hold_config(stage: Stage, report: ConfigReport) -> None:
    """Raise GuardError unless a written config.json says what the stage says."""
    refuse(finding for guard in AT_EXPORT for finding in guard(stage, report))
