"""What a rule is made of: a stage or a corpus, and what must be there before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path

from stages.data import spec as data_spec
from stages.errors import InvalidSpecs
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.validate import several


@dataclass(frozen=True)
class Graph:
    """All stages that have a rule at one scale, by pipeline, and the local corpora, the tokenizer first.

    Of pipelines whose specs cannot be read (`unreadable`, each with what is wrong) nothing is known here.
    """

    scale: str
    pipelines: Mapping[str, Mapping[str, Stage]]  # pipeline -> ref -> stage, parents first
    members: Mapping[str, tuple[str, ...]]  # pipeline -> refs of all its stages, with those that another's rules make
    variants: tuple[str, ...]
    corpora: tuple[str, ...]
    by_published: frozenset[str]  # corpora that are cut with a tokenizer of specs/tokenizers
    keys: Mapping[str, str]
    absent: Mapping[str, tuple[str, ...]]  # pipelines that are not at this scale, and the scales that they are at
    unreadable: Mapping[str, InvalidSpecs] = field(default_factory=dict)

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """Every stage, by ref."""
        return {ref: stage for group in self.pipelines.values() for ref, stage in group.items()}

    @cached_property
    def published(self) -> dict[str, Stage]:
        """The stages of what is not a variant: what plain `snakemake` runs and dvc.yaml describes."""
        return {ref: stage for ref, stage in self.stages.items() if ref.partition("/")[0] not in self.variants}

    @cached_property
    def published_corpora(self) -> tuple[str, ...]:
        """The local corpora that published stages read, and the tokenizer."""
        named = {name for stage in self.published.values() for name in corpora(stage, self)}
        return tuple(name for name in self.corpora if name in named)


def load(root: Path, project: Project, scale: str) -> Graph:
    """Resolve every pipeline and reading that a project has at `scale`. Raises InvalidSpecs if one cannot be."""
    graph = readable(root, project, scale)
    refuse(graph.unreadable)
    return graph


def refuse(unreadable: Mapping[str, InvalidSpecs]) -> None:
    """Raise what is wrong with pipelines that cannot be read, each mistake once."""
    errors = [one for error in unreadable.values() for one in error.errors]
    if errors:
        raise several(list({(one.where, one.key): one for one in errors}.values()))


def readable(root: Path, project: Project, scale: str) -> Graph:
    """Resolve every pipeline and reading at `scale`; those that cannot be resolved do not keep the others."""
    published = set(project.pipelines(variants=False, scale=scale))
    pipelines = {}
    resolved_all, unreadable = project.resolve_all(scale)
    extended = {name: {one.extends} if one.extends else set() for name, one in resolved_all.items()}
    for name in TopologicalSorter(extended).static_order():
        resolved = resolved_all[name]
        pipelines[name] = {f"{name}/{one}": resolved.stages[one] for one in resolved.stages if one in resolved.own}
    variants = tuple(name for name in (*pipelines, *unreadable) if name not in published)
    keys = {one.refs[stage]: one.keys[stage] for one in resolved_all.values() for stage in one.own}
    members = {name: tuple(resolved_all[name].refs.values()) for name in pipelines}
    absent = {name: tuple(project.scales_of(name)) for name in project.absent(scale)}
    local = tuple(data_spec.names(root))
    specs = project.data.corpora
    by_published = frozenset(name for name in local if name in specs and specs[name].tokenizer)
    return Graph(scale, pipelines, members, variants, local, by_published, keys, absent, unreadable)


def rule_name(name: str) -> str:
    """pipeline/stage, or a corpus, as Snakemake and DVC spell it: pipeline__stage, data__corpus."""
    return name.replace("/", "__") if "/" in name else f"data__{name}"


def corpora(stage: Stage, graph: Graph) -> tuple[str, ...]:
    """The local corpora that a stage reads, and the local tokenizer unless they keep a published one; sorted."""
    named = {source.corpus for phase in stage.evaluated_on for source in phase.sources}
    if named and not named & graph.by_published:
        named.add(data_spec.TOKENIZER)
    return tuple(sorted(named & set(graph.corpora)))


def above(graph: Graph, name: str) -> set[str]:
    """All stages and corpora that a stage or corpus is made from, at any distance."""
    if name not in graph.stages:
        return set() if name in graph.by_published else {data_spec.TOKENIZER} - {name}
    found: set[str] = set()
    left = [name]
    while left:
        stage = graph.stages[left.pop()]
        left += [parent for parent in stage.needed if parent not in found]
        found |= {*stage.needed, *corpora(stage, graph)}
    return found


def urgencies(graph: Graph) -> dict[str, int]:
    """Priority of every stage and corpus: how many jobs wait for it, one behind the other.

    A chain of stages cannot be shared among cores, so the longest one decides when everything is done: it goes first.
    """
    found: dict[str, int] = {}
    for ref in reversed(graph.stages):  # children before their parents
        found.setdefault(ref, 0)
        stage = graph.stages[ref]
        for name in (*stage.needed, *corpora(stage, graph)):
            found[name] = max(found.get(name, 0), found[ref] + 1)
    return {name: found.get(name, 0) for name in (*graph.stages, *graph.corpora)}


def start_line(loaded: Graph, stale: set[str]) -> str:
    """What Snakemake starts with: scale, stages by pipeline, and how many of them are not done."""
    counts = []
    for pipeline, own in loaded.pipelines.items():
        if pipeline in loaded.variants:
            continue
        waiting = len(stale & set(own))
        counts.append(f"{pipeline} {len(own)} stages" + (f" ({waiting} to run)" if waiting else " (all done)"))
    return f"scale {loaded.scale}: " + ", ".join(counts)
