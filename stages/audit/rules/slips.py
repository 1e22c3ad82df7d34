"""Slips of the text that its reader finds: each is a kind of its own."""

from __future__ import annotations

from collections.abc import Iterator

from stages.audit.finding import Rule, rule
from stages.audit.recipe import Fault, Pipeline

CONSEQUENCES = {
    "flag-twice": ("I-05", "A setting is given twice with different values", "the last one counts"),
    "flag-unknown": ("I-05", "A setting that the framework does not know", "the launch stops, or the default counts"),
    "flag-without-value": ("I-05", "A setting without its value", "the launch stops, or the next word is taken"),
    "flags-not-passed": ("I-05", "Settings that are written and not passed", "the framework's defaults count"),
    "variable-unset": ("I-05", "A variable that nothing sets", "it is empty unless the environment sets it"),
}


def _of(kind: str, consequence: str) -> Rule:
    def found(pipeline: Pipeline) -> Iterator[Fault]:
        for stage in pipeline.stages:
            for slip in stage.slips:
                if slip.kind == kind:
                    unless = None if slip.certain else "the environment sets it"
                    yield Fault(stage, slip.where, slip.found, slip.expected, consequence, None, unless)

    return found


for _kind, (_invariant, _title, _consequence) in CONSEQUENCES.items():
    rule(_kind, _invariant, _title)(_of(_kind, _consequence))
