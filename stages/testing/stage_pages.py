"""What a session knows of a project: its stages, at which scales, and every page of each, made once."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from stages.cluster import site
from stages.commands.find_project import published_scale
from stages.errors import InvalidSpecs, UserError
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_pipeline import ResolvedPipeline
from stages.sync.config import DEFAULT_SCALE
from stages.testing import page_emitted, page_plan, page_spec

PAGES = ("spec", "plan", "emitted")


class StagePages:
    """A project's stages and their pages. Pipelines that cannot be read are in `unreadable`, with their mistake."""

    def __init__(self, root: Path) -> None:
        self.root, self.project = root, Project.load(root)
        self.pipelines: dict[str, dict[str, ResolvedPipeline]] = {}  # pipeline -> scale -> resolved
        self.unreadable: dict[str, UserError] = {}
        self._planned: dict[tuple[str, str], dict[str, Any]] = {}
        for name in self.project.pipelines(variants=True):
            try:
                # The published scale, if the pipeline is at it, and the one whose stages are trained.
                scales = dict.fromkeys([published_scale(self.project, name), self.small(name)])
                self.pipelines[name] = {scale: self.project.resolve(name, scale) for scale in scales}
            except InvalidSpecs as error:
                self.unreadable[name] = error

    def small(self, pipeline: str) -> str:
        """The scale whose stages are trained: mini, else the first on a CPU, else the first that the pipeline is at."""
        known = self.project.scales_of(pipeline)
        if DEFAULT_SCALE in known:
            return DEFAULT_SCALE
        on_cpu = [scale for scale in known if self.project.scale(scale).device == "cpu"]
        return next(iter([*on_cpu, *known]), DEFAULT_SCALE)

    @cached_property
    def refs(self) -> list[str]:
        """Every stage that has its rule in one of the scales, as pipeline/stage."""
        return [
            f"{pipeline}/{stage}"
            for pipeline, resolved in self.pipelines.items()
            for stage in dict.fromkeys(name for one in resolved.values() for name in one.stages)
            if any(stage in one.own for one in resolved.values())
        ]

    def resolved(self, ref: str) -> list[ResolvedPipeline]:
        """The scales at which a stage has its own rule."""
        pipeline, _, stage = ref.partition("/")
        return [one for one in self.pipelines[pipeline].values() if stage in one.own]

    def trained(self, ref: str) -> Stage | None:
        """A stage at the scale whose stages are trained; None where another's rule makes it there."""
        pipeline, _, name = ref.partition("/")
        one = self.pipelines[pipeline][self.small(pipeline)]
        return one.stages[name] if name in one.own else None

    def keys(self, ref: str) -> dict[str, str]:
        """The key of a stage at each of its scales: a digest of what it is there, and of what it is built on."""
        return {one.scale: one.keys[ref.partition("/")[2]] for one in self.resolved(ref)}

    def page(self, kind: str, ref: str) -> dict[str, Any]:
        """A page of a stage at each of its scales."""
        if ref == page_emitted.NEMO:
            return page_emitted.fixed()
        return {one.scale: self._page(kind, one, ref.partition("/")[2]) for one in self.resolved(ref)}

    def _page(self, kind: str, resolved: ResolvedPipeline, name: str) -> dict[str, Any]:
        if kind == "spec":
            return page_spec.page(resolved, name)
        if kind == "emitted":
            return page_emitted.page(resolved.stages[name], self._site)
        place = resolved.name, resolved.scale
        if place not in self._planned:
            self._planned[place] = page_plan.pages(self.project, resolved)
        return dict(self._planned[place][name])

    @cached_property
    def _site(self) -> site.Site:
        return site.load(self.root)

    @cached_property
    def nemo(self) -> bool:
        """Whether the NeMo engine trains any stage."""
        return any(
            one.stages[name].execution.engine == "nemo"
            for scales in self.pipelines.values()
            for one in scales.values()
            for name in one.own
        )
