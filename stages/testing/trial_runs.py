"""Short runs of a project's stages in a temporary folder: each stage after its parents, which are as short.

What is computed once in a session is kept there for the other tests, also for those of other workers of xdist.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from stages.spec.resolved import Stage
from stages.store import json_file
from stages.store.layout import Layout
from stages.testing import curves, shortened, step_tensors
from stages.testing.stage_pages import StagePages
from stages.testing.step_tensors import Inside


@dataclass(frozen=True)
class Found:
    """What a short run came to, the id of the environment that computed it, and the tensors of its steps."""

    environment: str
    content: dict[str, Any]
    tensors: Inside


class TrialRuns:
    """Runs stages. Corpora are those of the project; what is not prepared yet is prepared there."""

    def __init__(self, pages: StagePages, config: pytest.Config) -> None:
        self.pages, self._config = pages, config
        self._prepared: set[tuple[str, str]] = set()

    @cached_property
    def folder(self) -> Path:
        """Where the session's runs are."""
        factory: pytest.TempPathFactory = self._config._tmp_path_factory  # type: ignore[attr-defined]
        base = factory.getbasetemp()
        return (base.parent if hasattr(self._config, "workerinput") else base) / "stages-runs"

    def whole(self, ref: str) -> Found:
        """The uninterrupted short run of a stage."""
        scale = self._scale(ref)
        stages = shortened.lineage(self.pages.project, ref, scale)
        keys, found = shortened.keys(stages), None
        self.folder.mkdir(exist_ok=True)
        for name in stages:
            with FileLock(self.folder / f"{keys[name]}.lock"):
                found = self._once(name, stages, keys)
        assert found is not None
        return found

    def _once(self, ref: str, stages: Mapping[str, Stage], keys: Mapping[str, str]) -> Found:
        """Run a stage whose parents are done, unless this session has done so."""
        kept = self.folder / f"{keys[ref]}.json"
        if not kept.exists():
            self._prepare(stages[ref])
            found = self._run(self.folder / "whole", ref, stages, keys)
            json_file.write(kept, [found.environment, found.content, found.tensors])
        environment, content, tensors = json_file.read(kept)
        steps = [step_tensors.ordered(row) for row in content["steps"]]  # JSON is written in the order of names
        return Found(environment, {**content, "steps": steps}, tensors)

    def twin(self, ref: str) -> str:
        """Run a stage with two stops at random steps; says where. Raises GoldenError where its end is another."""
        whole = self.whole(ref)
        scale = self._scale(ref)
        stages = shortened.lineage(self.pages.project, ref, scale)
        keys, count = shortened.keys(stages), shortened.steps(stages[ref])
        seed = self._config.getoption("stages_seed")
        cuts = sorted(random.Random(f"{seed} {ref}").sample(range(1, count), min(2, count - 1)))
        folder = self._beside("twin", ref, scale, stages)
        found = self._run(folder, ref, stages, keys, cuts)
        title = f"{ref}: stopped after step {' and '.join(map(str, cuts))} of {count} (--stages-seed {seed})"
        _same(whole, found, f"{title} and resumed, it is not the uninterrupted run")
        shutil.rmtree(folder)
        return f"{title}: equal"

    def layout(self, ref: str) -> None:
        """Run a stage on one rank and on two. Raises GoldenError where a file of the result differs."""
        self.whole(ref)
        scale = self._scale(ref)
        stages = shortened.lineage(self.pages.project, ref, scale)
        results = []
        for ranks in (1, shortened.RANKS):
            laid = {**stages, ref: shortened.shared(stages[ref], ranks)}
            folder = self._beside(f"ranks-{ranks}", ref, scale, stages)
            results.append(self._run(folder, ref, laid, shortened.keys(laid), samples=False))
            shutil.rmtree(folder)
        _same(results[0], results[1], f"{ref}: two ranks do not compute what one does")

    def _scale(self, ref: str) -> str:
        return self.pages.small(ref.partition("/")[0])

    def _beside(self, kind: str, ref: str, scale: str, stages: Mapping[str, Stage]) -> Path:
        """A folder of its own, with the results of a stage's ancestors."""
        folder = self.folder / f"{kind}-{ref.replace('/', '-')}"
        shutil.rmtree(folder, ignore_errors=True)
        ours, theirs = Layout(folder, scale), Layout(self.folder / "whole", scale)
        for parent in stages:
            if parent != ref:
                shutil.copytree(theirs.stage(parent), ours.stage(parent))
        return folder

    def _run(
        self,
        root: Path,
        ref: str,
        stages: Mapping[str, Stage],
        keys: Mapping[str, str],
        cuts: list[int] | None = None,
        samples: bool = True,
    ) -> Found:
        from stages.testing import short_run

        layout = Layout(root, stages[ref].scale)
        data = Layout(self.pages.root, layout.scale).data
        layout.data.parent.mkdir(parents=True, exist_ok=True)
        if not layout.data.exists():
            layout.data.symlink_to(data)
        return short_run.run(layout, ref, stages, keys, self._releases, cuts or [], samples)

    @cached_property
    def _releases(self) -> dict[str, Path]:
        from stages.store.releases import folders

        return folders(self._config.getoption("stages_releases"), "--stages-releases")

    def _prepare(self, stage: Stage) -> None:
        """Prepare in the project what a stage reads, unless it is there as its spec declares."""
        from stages.commands.data import prepare
        from stages.sync import graph

        for name in graph.corpora(stage, graph.readable(self.pages.root, self.pages.project, stage.scale)):
            if (name, stage.scale) not in self._prepared:
                prepare(name, stage.scale)
                self._prepared.add((name, stage.scale))


def _same(expected: Found, found: Found, title: str) -> None:
    curves.same(expected.content, found.content, title, (expected.tensors, found.tensors))
