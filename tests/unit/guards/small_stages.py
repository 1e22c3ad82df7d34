"""Stages of a few steps on small prepared corpora, and what stops them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.engines import Inputs, run
from stages.guards.findings import GuardError
from stages.spec.resolved import Init, Model, Stage
from stages.store import attempts, manifest
from stages.store.manifest import Parent
from tests.unit.data.small import Small, phase
from tests.unit.train import tiny

BUDGET = 7 * 4 * 32 + 40  # seven steps, and one of a row and a quarter


LLAMA = tiny.LLAMA.model_copy(update={"vocab": 300})


Patch = Callable[[pytest.MonkeyPatch], None]


def stage(small: Small, corpora: tuple[str, ...] = ("math",), **changes: Any) -> Stage:
    """A language model on prepared corpora, and a projector that stays frozen beside it."""
    sources = tuple(small.source(name) for name in corpora)
    made = phase(*sources, budget=BUDGET, **changes)
    modules: dict[str, Model] = {"llm": LLAMA, "projector": tiny.PROJECTOR}
    return tiny.stage(modules, (made,), ("llm",), seed=3)


def inputs(small: Small, root: Path, key: str = "a" * 32) -> Inputs:
    return replace(tiny.inputs(root, key), data_root=small.data)


def child(parent: Stage, small: Small, root: Path, **changes: Any) -> tuple[Stage, Inputs]:
    """A stage that takes over the finished parent's model and optimizer, on the same data read again."""
    ref = f"tiny/{parent.name}"
    found, digest = manifest.read_with_digest(inputs(small, root).layout.manifest(ref))
    init = Init(weights="inherit", parent=ref, release=None, optimizer="inherit", layer_map=None, stand_in=False)
    fields = {"name": "child", "parents": (ref,), "init": dict.fromkeys(parent.modules, init)}
    built = replace(inputs(small, root, "b" * 32), parents={ref: Parent(key=found.key, manifest=digest)})
    return parent.model_copy(update=fields | changes), built


def refused(made: Stage, given: Inputs) -> set[str]:
    """The ids that stop the stage. The attempt has failed with them, and nothing is in place."""
    with pytest.raises(GuardError) as error:
        run(made, given)
    (folder, *_) = attempts.folders(given.layout, given.key)
    recorded = attempts.finding(folder)
    assert recorded is not None
    assert all(one.id in recorded.message for one in error.value.findings)
    assert recorded.repeats, "a rerun of the same spec builds the same"
    assert not given.layout.stage(f"tiny/{made.name}").exists()
    return {one.id for one in error.value.findings}
