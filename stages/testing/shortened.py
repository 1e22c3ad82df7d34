"""A stage with its first steps only: every phase ends in a step that is cut, and nothing is evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stages.contract import ledger
from stages.spec.key import stage_key
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase

STEPS = 3  # whole steps of each phase, before a partial one
RANKS = 2  # that the tests of layouts compare with one


def phase(whole: Phase) -> Phase:
    """The phase's first whole steps and half of the next: short phases stay as they are."""
    steps: Iterator[ledger.Step] = ledger.steps(whole)
    kept = [step for step, _ in zip(steps, range(STEPS + 1), strict=False)]
    if len(kept) <= STEPS:
        return whole
    last = kept[-1]
    return whole.model_copy(update={"budget": last.start + max(1, (last.end - last.start) // 2)})


def stage(whole: Stage) -> Stage:
    """The stage with short phases. Schedules, clocks and data stay: step n has the rate and samples that it has."""
    evaluation = whole.evaluation.model_copy(update={"names": ()})
    return whole.model_copy(update={"phases": tuple(map(phase, whole.phases)), "evaluation": evaluation})


def lineage(project: Project, ref: str, scale: str) -> dict[str, Stage]:
    """A stage and all that it is built on, parents first, each shortened."""
    found: dict[str, Stage] = {}

    def add(name: str) -> None:
        pipeline, _, own = name.partition("/")
        one = project.resolve(pipeline, scale).stages[own]
        for parent in one.parents:
            if parent not in found:
                add(parent)
        found[name] = stage(one)

    add(ref)
    return found


def steps(stage: Stage) -> int:
    """How many steps it has."""
    return sum(ledger.count(part) for part in stage.phases)


def shared(stage: Stage, ranks: int) -> Stage:
    """The stage on so many ranks, in micro-batches that RANKS of them can share: the same ones for every number."""
    fits = all(rung.sequences >= RANKS * part.micro_batch for part in stage.phases for rung in part.batch)
    phases = stage.phases if fits else tuple(part.model_copy(update={"micro_batch": 1}) for part in stage.phases)
    return stage.model_copy(update={"phases": phases, "execution": stage.execution.model_copy(update={"ranks": ranks})})


def keys(stages: Mapping[str, Stage]) -> dict[str, str]:
    """The key of each, parents first."""
    found: dict[str, str] = {}
    for name, one in stages.items():
        found[name] = stage_key(one, found)
    return found
