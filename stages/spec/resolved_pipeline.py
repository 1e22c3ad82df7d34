"""A pipeline at a scale: its stages, parents first, and what they have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from stages.errors import Where
from stages.spec import merging
from stages.spec.claims import Claim, Size, claims, sizes
from stages.spec.clocks import Extent
from stages.spec.graph import topological
from stages.spec.hand_over import Node
from stages.spec.key import stage_key
from stages.spec.nodes import Document
from stages.spec.points import RawPoint
from stages.spec.resolve import Resolver
from stages.spec.resolved import Stage, Waiver
from stages.spec.resolved_training import Optimizer
from stages.spec.schema.stages import RawMerge
from stages.spec.scope import Scope


@dataclass(frozen=True)
class Edge:
    """A hand-over; both ends are "pipeline/stage"."""

    parent: str
    child: str


@dataclass(frozen=True)
class ResolvedPipeline:
    """A pipeline at a scale; `stages` in topological order."""

    name: str
    title: str
    citation: str
    figure: str
    extends: str | None
    scale: str
    stages: dict[str, Stage]
    own: tuple[str, ...]  # stages that have rules here
    refs: dict[str, str]  # stage -> "pipeline/stage" that has its rule
    edges: tuple[Edge, ...]
    claims: tuple[Claim, ...]
    sizes: tuple[Size, ...]
    documents: dict[str, Document]
    states: dict[str, Mapping[str, Optimizer]]  # modules whose optimizer state a stage's result has, and what made it
    extents: dict[str, Extent]  # stage that trains -> how far it reads its schedule
    numbers: dict[str, Mapping[tuple[str, str], Extent]]  # the same of numbers that have one, by number and schedule
    listing: Document  # pipeline.yaml
    waivers: tuple[Waiver, ...]  # of findings about the whole pipeline

    @cached_property
    def keys(self) -> dict[str, str]:
        """Stage -> key, worked out at the first need."""
        found: dict[str, str] = {}
        by_ref: dict[str, str] = {}
        for name, stage in self.stages.items():
            found[name] = by_ref[self.refs[name]] = stage_key(stage, by_ref)
        return found

    @cached_property
    def by_ref(self) -> dict[str, Stage]:
        """Stages by "pipeline/stage"; of a variant, a stage that it has unchanged is the other pipeline's."""
        return {self.refs[name]: stage for name, stage in self.stages.items()}

    def where(self, stage: str, *path: str | int) -> Where:
        """Where a stage's spec, or a key of it, stands."""
        return self.documents[stage].where(path)


def resolved(scope: Scope, base: ResolvedPipeline | None) -> ResolvedPipeline:
    """The pipeline at the scale; `base` is the pipeline that it extends. Raises InvalidSpecs."""
    loaded = scope.pipeline
    nodes = _nodes(scope, base)
    refs = {stage: node.ref for stage, node in nodes.items()}
    edges = (Edge(parent, refs[stage]) for stage, node in nodes.items() for parent in node.stage.parents)
    return ResolvedPipeline(
        name=loaded.name,
        title=loaded.raw.title,
        citation=loaded.raw.citation,
        figure=loaded.raw.figure,
        extends=loaded.raw.extends,
        scale=scope.raw_scale.scale,
        stages={stage: node.stage for stage, node in nodes.items()},
        own=tuple(stage for stage, ref in refs.items() if ref == f"{loaded.name}/{stage}"),
        refs=refs,
        edges=tuple(dict.fromkeys(edges)),
        claims=claims(loaded, nodes),
        sizes=sizes(loaded),
        documents={stage: one.document for stage, one in loaded.stages.items()},
        states={stage: node.state for stage, node in nodes.items()},
        extents={stage: node.extent for stage, node in nodes.items() if node.extent is not None},
        numbers={stage: node.numbers for stage, node in nodes.items()},
        listing=loaded.document,
        waivers=tuple(waiver.resolved() for waiver in loaded.raw.waivers),
    )


def _nodes(scope: Scope, base: ResolvedPipeline | None) -> dict[str, Node]:
    """Every stage after its parents."""
    loaded, resolver = scope.pipeline, Resolver(scope)
    nodes: dict[str, Node] = {}
    keys: dict[str, str] = {}
    full, raws = scope.scale.shrink is None, [one.raw for one in loaded.stages.values()]
    merges = full and any(isinstance(one, RawMerge) for one in raws)  # at a scale, two recipes may come out as one
    compared = base is not None or merges or any(isinstance(one, RawPoint) for one in raws)
    for stage in topological(loaded):
        node = resolver.stage(stage, nodes)
        if merges:
            merging.all_differ(loaded.stages[stage], nodes, keys)
        nodes[stage] = _whose(stage, node, nodes, keys, base) if compared else node
    return nodes


def _whose(
    name: str, node: Node, done: Mapping[str, Node], keys: dict[str, str], base: ResolvedPipeline | None
) -> Node:
    """The stage itself, or the one that does the same work under the same key, which is put into `keys`."""
    keys[name] = stage_key(node.stage, {other.ref: keys[known] for known, other in done.items()})
    trunk = done.get(node.stage.trunk.partition("/")[2]) if node.stage.trunk is not None else None
    if trunk is not None and keys[trunk.stage.name] == keys[name]:
        return trunk  # a point at the trunk's end is the trunk
    if base is not None and base.keys.get(name) == keys[name]:
        # The same work under the same name: the extended pipeline's rule does it.
        return replace(node, ref=base.refs[name], stage=base.stages[name])
    return node
