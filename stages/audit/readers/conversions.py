"""Folders that are made of others without training, and the runs that load them: conversions, merged adapters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from stages.audit.readers.tree import Tree
from stages.audit.recipe import Stage, Value


@dataclass(frozen=True)
class Conversion:
    """One such command: where it writes, and what becomes figures of a run that loads it."""

    save: str
    figures: dict[str, Value]


def merges(tree: Tree) -> Iterator[Conversion]:
    """LLaMA-Factory's export of a base with its adapter: a run that loads it goes on from the run of the adapter."""
    save, adapter = (tree.value((key,)) for key in ("export_dir", "adapter_name_or_path"))
    if save is not None and adapter is not None and isinstance(save.value, str) and isinstance(adapter.value, str):
        yield Conversion(save.value.rstrip("/"), {"merged_from": adapter})


def loaded(stages: Iterable[Stage], every: Iterable[Conversion]) -> list[Stage]:
    """The runs, those that load what a conversion wrote with what is known of it."""
    made = {one.save: one.figures for one in every}
    found = []
    for stage in stages:
        paths = [stage.folder(name) for name in ("load", "pretrained")]
        figures = next((made[path] for path in paths if path in made), {})
        found.append(replace(stage, values={**stage.values, **figures}) if figures else stage)
    return found
