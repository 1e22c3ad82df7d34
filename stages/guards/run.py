"""All guards by the moment at which they run, and which invariant each is for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stages.check.findings import Finding
from stages.guards import end, preference, start, written_config
from stages.guards.findings import refuse
from stages.guards.report import BuiltReport, ConfigReport, EndReport
from stages.spec.resolved import Stage

AT_START = (start.learning_rates, start.frequencies, start.restored, start.gradients, preference.reference)
AT_END = (
    end.budgets, end.rates, end.frozen, end.nothing_twice, end.supervision, end.mixture, end.exits,
    preference.measured,
)  # fmt: skip
AT_EXPORT = (written_config.written_config,)

Guard = Callable[..., Iterator[Finding]]
# Which guards hold an invariant: what `stages check --explain` names.
HOLDING: dict[str, tuple[Guard, ...]] = {
    "I-01": (start.learning_rates,),
    "I-02": (start.learning_rates, end.rates),
    "I-08": (end.budgets,),
    "I-09": (end.budgets,),
    "I-11": (start.frequencies,),
    "I-12": (start.frequencies,),
    "I-13": (start.frequencies,),
    "I-14": (written_config.written_config,),
    "I-15": (start.restored,),
    "I-17": (end.nothing_twice,),
    "I-18": (end.nothing_twice,),
    "I-20": (end.supervision,),
    "I-30": (end.mixture,),
    "I-31": (start.restored,),
    "I-32": (end.exits,),
    "I-34": (start.gradients, end.frozen),
    "I-49": (preference.reference, preference.measured),
}


def names(id: str) -> list[str]:
    """Where the guards of an invariant are written, as "stages/guards/start.py: restored"."""
    return [f"{guard.__module__.replace('.', '/')}.py: {guard.__name__}" for guard in HOLDING.get(id, ())]


def check_start(stage: Stage, report: BuiltReport) -> None:
    """Raise GuardError unless what was built is what the stage says."""
    refuse(finding for guard in AT_START for finding in guard(stage, report))


def check_end(stage: Stage, report: EndReport) -> None:
    """Raise GuardError unless what was done is what the stage says."""
    refuse(finding for guard in AT_END for finding in guard(stage, report))


def check_config(stage: Stage, report: ConfigReport) -> None:
    """Raise GuardError unless a written config.json says what the stage says."""
    refuse(finding for guard in AT_EXPORT for finding in guard(stage, report))
