"""One stage of the project here, at one scale, with all that a command needs to know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.commands import find_project
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.store import done
from stages.store.layout import Layout
from stages.sync.graph import Graph


@dataclass(frozen=True)
class Chosen:
    """A stage. `graph` has all stages of its scale and their keys, `layout` where results are."""

    stage: Stage
    project: Project
    graph: Graph
    layout: Layout

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self.layout.root

    @property
    def ref(self) -> str:
        """Its pipeline and its name."""
        return self.stage.ref

    @property
    def key(self) -> str:
        """The key of its result."""
        return self.graph.keys[self.ref]

    @property
    def parent_keys(self) -> Mapping[str, str]:
        """The keys of its parents' results."""
        return {parent: self.graph.keys[parent] for parent in self.stage.parents}

    def verdict(self, deep: bool = False) -> done.Verdict:
        """Whether it is done, as its own files and its parents' keys have it; `deep` reads every digest."""
        return done.is_done(self.layout, self.ref, self.key, self.parent_keys, deep=deep)

    def other(self, ref: str) -> Chosen:
        """Another stage of the same scale."""
        return Chosen(self.graph.stages[ref], self.project, self.graph, self.layout)


def choose(ref: str, scale: str) -> Chosen:
    """The stage called `ref` of the project here. Raises as `open_graph` and `pick`."""
    layout, project, graph = find_project.open_graph(scale)
    return Chosen(find_project.pick(graph, ref)[1], project, graph, layout)
