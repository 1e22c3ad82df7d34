"""What is killed: a short stage of every objective and of every other kind, on small real corpora."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from stages.models import release_files
from stages.spec.key import stage_key
from stages.spec.resolved import Init, Share, Stage
from stages.spec.resolved_training import Piece, Schedule, Skip
from tests.snapshot import mini
from tests.unit.data.small import Small
from tests.unit.train import tiny

OBJECTIVES = (*tiny.OBJECTIVES, "moe")
KINDS = ("moving", "two_phases", "replacing", "continued", "upcycle", "merge", "import", "keep", "export")
NAMES = (*OBJECTIVES, *KINDS)
RELEASES, RELEASE = "releases", "released"
SCALE = "mini"
# Of no specs: it declares no tokenizer.
PROJECT = SimpleNamespace(data=SimpleNamespace(local="none", declared=lambda digest: None))


@dataclass(frozen=True)
class Case:
    """A stage, those that it is built on, and what is in its place before it runs."""

    stage: Stage
    parents: tuple[Stage, ...] = ()
    earlier: Stage | None = None

    @property
    def ref(self) -> str:
        return ref(self.stage)

    @property
    def key(self) -> str:
        return self.keys[self.ref]

    @property
    def stages(self) -> dict[str, Stage]:
        return {ref(stage): stage for stage in (*self.parents, self.stage)}

    @property
    def keys(self) -> dict[str, str]:
        keys: dict[str, str] = {}
        for name, stage in self.stages.items():
            keys[name] = stage_key(stage, keys)
        return keys


def ref(stage: Stage) -> str:
    return f"{stage.pipeline}/{stage.name}"


def make(name: str, small: Small) -> Case:
    """The case of this name, reading the corpora of the small project."""
    if name == "preference":
        return preferring(small)
    if name in OBJECTIVES:
        return Case(mini.stage(name, small))
    if name == "moving":
        return Case(moving(mini.stage("next_token", small)))
    parent = mini.stage("looped" if name == "upcycle" else "next_token", small)
    if name == "replacing":
        return Case(parent, earlier=parent.model_copy(update={"seed": parent.seed + 1}))
    if name == "two_phases":
        return Case(two_phases(parent, small))
    parent = parent.model_copy(update={"name": "parent"})
    if name == "merge":
        other = parent.model_copy(update={"name": "other", "seed": parent.seed + 1})
        shares = (Share(parent=ref(other), part=(1, 3)), Share(parent=ref(parent), part=(2, 3)))
        made = child(name, parent).model_copy(update={"parents": (ref(other), ref(parent)), "merge": shares})
        return Case(made, (other, parent))
    return Case(child(name, parent), (parent,))


def preferring(small: Small) -> Case:
    """Preference training behind a stage, whose weights are its reference."""
    parent = mini.stage("next_token", small).model_copy(update={"name": "parent"})
    made = mini.stage("preference", small)
    init = Init(
        weights="inherit", parent=ref(parent), release=None, optimizer="reset", layer_map=None, stand_in=False
    )  # fmt: skip
    changes = {"parents": (ref(parent),), "init": dict.fromkeys(made.modules, init)}
    return Case(made.model_copy(update=changes), (parent,))


def moving(stage: Stage) -> Stage:
    """The stage with a weight decay that rises, an average of its weights, and steps that are skipped."""
    assert stage.optimizer is not None
    end = stage.phases[0].budget
    rises = Piece(start=0, end=end, shape="linear", first=0.0, last=0.5, p0=(0, 1), p1=(1, 1))
    changes = {
        "weight_decay": Schedule(name="rises", pieces=(rises,)), "ema": 0.5, "skip": Skip(window=4, sigmas=0.5)
    }  # fmt: skip
    return stage.model_copy(update={"optimizer": stage.optimizer.model_copy(update=changes)})


def two_phases(stage: Stage, small: Small) -> Stage:
    """The stage's phase on the first half of its documents, then the same on the other half."""
    first = stage.phases[0]
    size = small.corpus("math").manifest.size
    early = first.model_copy(update={"sources": (small.source("math", 0, size // 2),)})
    changes = {"name": "late", "clock_start": first.budget, "sources": (small.source("math", size // 2, size),)}
    phases = (early, first.model_copy(update=changes))
    return stage.model_copy(update={"phases": phases, "schedule": tiny.schedule(2 * first.budget)})


def child(kind: str, parent: Stage) -> Stage:
    """A stage built on `parent`: trained further, made deeper, averaged, pointed to, released or from a release."""
    init: dict[str, Any] = {
        "weights": "inherit", "parent": ref(parent), "release": None, "optimizer": "inherit", "layer_map": None,
        "stand_in": False,
    }  # fmt: skip
    changes: dict[str, Any] = {"parents": (ref(parent),)}
    if kind == "continued":
        return with_init(parent, init, changes)
    changes |= {"kind": kind, "phases": (), "trained": (), "optimizer": None, "schedule": None}
    if kind == "upcycle":
        changes["modules"] = {"llm": tiny.OURO.model_copy(update={"layers": 4, "vocab": mini.VOCAB})}
        init |= {"weights": "upcycle", "layer_map": (0, 1, 0, 1)}
    if kind == "merge":
        init |= {"weights": "merge", "parent": None, "optimizer": "reset"}
    if kind == "import":
        changes["parents"] = ()
        init |= {"weights": "release", "parent": None, "release": RELEASE, "optimizer": "reset"}
    return with_init(parent, init, changes)


def with_init(parent: Stage, init: Mapping[str, Any], changes: Mapping[str, Any]) -> Stage:
    return parent.model_copy(update={"name": "box", **changes, "init": dict.fromkeys(parent.modules, Init(**init))})


def lay(case: Case, root: Path, small: Small, finish: Callable[[Case], object]) -> Case:
    """Make a project's folder in which this case can run: its corpora, and what is finished before it.

    Returns the case, which declares the digest of the release that lies there now.
    """
    (root / "results" / SCALE).mkdir(parents=True)
    (root / "results" / SCALE / "data").symlink_to(small.data)
    for number, stage in enumerate(case.parents):
        finish(Case(stage, case.parents[:number]))
    if case.earlier is not None:
        finish(Case(case.earlier))
    if case.stage.kind == "import":  # the parent's model, laid down as a folder that a user has
        model = root / "results" / SCALE / ref(case.parents[0]) / "model/llm"
        shutil.copytree(model, root / RELEASES / RELEASE)
        return replace(case, stage=declared(case.stage, root / RELEASES / RELEASE))
    return case


def declared(stage: Stage, folder: Path) -> Stage:
    """The stage with a release's digest, as specs/releases would declare it."""
    digest = release_files.digest(folder)
    return stage.model_copy(
        update={"init": {name: init.model_copy(update={"digest": digest}) for name, init in stage.init.items()}}
    )
