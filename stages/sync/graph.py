"""What a rule is made of: a stage or a corpus, and what must be there before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.data import spec as data_spec
from stages.spec.project import Project
from stages.spec.resolved import Stage


@dataclass(frozen=True)
class Graph:
    """All stages that have a rule at one scale, by pipeline, and the local corpora, the tokenizer first."""

    scale: str
    pipelines: Mapping[str, Mapping[str, Stage]]  # pipeline -> ref -> stage, parents first
    readings: tuple[str, ...]
    corpora: tuple[str, ...]
    keys: Mapping[str, str]

    @property
    def stages(self) -> dict[str, Stage]:
        """Every stage, by ref."""
        return {ref: stage for group in self.pipelines.values() for ref, stage in group.items()}


def load(root: Path, project: Project, scale: str) -> Graph:
    """Resolve every pipeline and reading of a project at `scale`."""
    published = set(project.pipelines(readings=False))
    pipelines = {}
    for name in project.pipelines(readings=True):
        resolved = project.resolve(name, scale)
        pipelines[name] = {f"{name}/{box}": resolved.stages[box] for box in resolved.stages if box in resolved.own}
    readings = tuple(name for name in pipelines if name not in published)
    return Graph(scale, pipelines, readings, tuple(data_spec.names(root)), project.keys(scale))


def rule_name(ref: str) -> str:
    """pipeline/stage as Snakemake and DVC spell it: pipeline__stage."""
    return ref.replace("/", "__")


def corpora(stage: Stage, local: tuple[str, ...]) -> tuple[str, ...]:
    """The local corpora that a stage reads, and the tokenizer if it has any phase; sorted."""
    named = {source.corpus for phase in stage.phases for source in phase.sources}
    if stage.phases:
        named.add(data_spec.TOKENIZER)
    return tuple(sorted(named & set(local)))
