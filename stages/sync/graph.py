"""What a rule is made of: a stage or a corpus, and what must be there before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

from stages.data import spec as data_spec
from stages.spec.project import Project
from stages.spec.resolved import Stage


@dataclass(frozen=True)
class Graph:
    """All stages that have a rule at one scale, by pipeline, and the local corpora, the tokenizer first."""

    scale: str
    pipelines: Mapping[str, Mapping[str, Stage]]  # pipeline -> ref -> stage, parents first
    boxes: Mapping[str, tuple[str, ...]]  # pipeline -> refs of all its boxes, those that another's rules make included
    readings: tuple[str, ...]
    corpora: tuple[str, ...]
    keys: Mapping[str, str]
    absent: Mapping[str, tuple[str, ...]]  # pipelines that are not at this scale, and the scales that they are at

    @property
    def stages(self) -> dict[str, Stage]:
        """Every stage, by ref."""
        return {ref: stage for group in self.pipelines.values() for ref, stage in group.items()}

    @property
    def published(self) -> dict[str, Stage]:
        """The stages of what is not a reading: what plain `snakemake` runs and dvc.yaml describes."""
        return {ref: stage for ref, stage in self.stages.items() if ref.partition("/")[0] not in self.readings}

    @property
    def published_corpora(self) -> tuple[str, ...]:
        """The local corpora that published stages read, and the tokenizer."""
        named = {name for stage in self.published.values() for name in corpora(stage, self.corpora)}
        return tuple(name for name in self.corpora if name in named)


def load(root: Path, project: Project, scale: str) -> Graph:
    """Resolve every pipeline and reading that a project has at `scale`."""
    published = set(project.pipelines(readings=False, scale=scale))
    pipelines = {}
    resolved_all = {name: project.resolve(name, scale) for name in project.pipelines(readings=True, scale=scale)}
    extended = {name: {one.extends} if one.extends else set() for name, one in resolved_all.items()}
    for name in TopologicalSorter(extended).static_order():
        resolved = resolved_all[name]
        pipelines[name] = {f"{name}/{box}": resolved.stages[box] for box in resolved.stages if box in resolved.own}
    readings = tuple(name for name in pipelines if name not in published)
    boxes = {name: tuple(resolved_all[name].refs.values()) for name in pipelines}
    absent = {name: tuple(project.scales_of(name)) for name in project.absent(scale)}
    return Graph(scale, pipelines, boxes, readings, tuple(data_spec.names(root)), project.keys(scale), absent)


def rule_name(name: str) -> str:
    """pipeline/stage, or a corpus, as Snakemake and DVC spell it: pipeline__stage, data__corpus."""
    return name.replace("/", "__") if "/" in name else f"data__{name}"


def corpora(stage: Stage, local: tuple[str, ...]) -> tuple[str, ...]:
    """The local corpora that a stage reads, and the tokenizer if it has any phase; sorted."""
    named = {source.corpus for phase in stage.phases for source in phase.sources}
    if stage.phases:
        named.add(data_spec.TOKENIZER)
    return tuple(sorted(named & set(local)))


def above(graph: Graph, name: str) -> set[str]:
    """All stages and corpora that a stage or corpus is made from, at any distance."""
    if name not in graph.stages:
        return {data_spec.TOKENIZER} - {name}
    found: set[str] = set()
    left = [name]
    while left:
        stage = graph.stages[left.pop()]
        left += [parent for parent in stage.parents if parent not in found]
        found |= {*stage.parents, *corpora(stage, graph.corpora)}
    return found
