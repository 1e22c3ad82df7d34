"""Models of Hugging Face that a command writes as checkpoints of Megatron, and the runs that load them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from stages.audit.recipe import Stage, Value


@dataclass(frozen=True)
class Conversion:
    """One such command: where it writes, and what becomes figures of a run that loads it."""

    save: str
    figures: dict[str, Value]


def loaded(stages: Iterable[Stage], every: Iterable[Conversion]) -> list[Stage]:
    """The runs, those that load what a conversion wrote with what is known of it."""
    made = {one.save: one.figures for one in every}
    found = []
    for stage in stages:
        paths = [stage.folder(name) for name in ("load", "pretrained")]
        figures = next((made[path] for path in paths if path in made), {})
        found.append(replace(stage, values={**stage.values, **figures}) if figures else stage)
    return found
