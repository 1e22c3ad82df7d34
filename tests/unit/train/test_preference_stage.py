"""A stage of preference training behind its parent: one reference, whatever stops it, and never a checkpoint's."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from stages.engines import Inputs, run, torch_trainer
from stages.guards import tensors
from stages.guards.findings import GuardError
from stages.spec.resolved import Init, Stage
from stages.spec.resolved_phases import Preference
from stages.store import manifest
from stages.store.digest import digest_bytes
from stages.store.layout import Layout
from stages.train.objectives import preference
from stages.train.objectives.preference import Pairs, of_losses
from tests.unit.train import tiny

pytestmark = pytest.mark.usefixtures("made_up_data")
PARENT, KEY = "tiny/base", "b" * 32


def preferring(root: Path) -> tuple[Stage, Inputs]:
    """The stage, behind a parent that is trained first."""
    run(tiny.make("next_token").model_copy(update={"name": "base"}), tiny.inputs(root))
    init = Init(weights="inherit", parent=PARENT, release=None, optimizer="reset", layer_map=None, stand_in=False)
    stage = tiny.make("preference").model_copy(update={"init": {"llm": init}, "parents": (PARENT,)})
    parents = manifest.parents(Layout(root, "mini"), {PARENT: "a" * 32})
    return stage, replace(tiny.inputs(root, KEY), parents=parents)


def result(root: Path) -> Path:
    return Layout(root, "mini").stage("tiny/box")


def test_a_run_that_is_stopped_again_and_again_has_the_parent_as_its_reference(
    tmp_path: Path, run_with_stops: Callable[[Stage, Inputs, int], None]
) -> None:
    run(*preferring(tmp_path / "one"))
    run_with_stops(*preferring(tmp_path / "stopped"), 3)
    one, stopped = result(tmp_path / "one"), result(tmp_path / "stopped")
    assert (one / manifest.NAME).read_bytes() == (stopped / manifest.NAME).read_bytes()
    weights = manifest.weights(Layout(tmp_path / "one", "mini").stage(PARENT), "llm")
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(tensors.digests(weights, None).items()))
    for folder in (one, stopped):
        assert json.loads((folder / "run.json").read_bytes())["read_frozen"] == {"llm": digest_bytes(lines.encode())}
    with (one / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(rows[0][name]) for name in ("margin", "accuracy", "chosen_ratio", "rejected_ratio")] == [0] * 4
    assert float(rows[-1]["margin"]) > 1


def test_a_reference_that_moves_stops_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where an engine reads the modules themselves: every margin stays 0, and the loss log 2."""
    monkeypatch.setattr(torch_trainer, "frozen_copies", lambda stage, modules: modules)
    with pytest.raises(GuardError, match=r"I-49 at tiny/box.*found a reference that moved in .*model"):
        run(*preferring(tmp_path))
    assert not result(tmp_path).exists()


def test_a_reference_that_is_not_the_parent_stops_the_stage_before_its_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = torch_trainer.frozen_copies

    def other(stage: Stage, modules: nn.ModuleDict) -> Any:
        copies = own(stage, modules)
        if copies is not None:
            next(copies.parameters()).data[0] += 1e-3
        return copies

    monkeypatch.setattr(torch_trainer, "frozen_copies", other)
    with pytest.raises(GuardError, match=r"I-49 at tiny/box.*found a reference that differs in .model\.\w+"):
        run(*preferring(tmp_path))
    assert not list((tmp_path / "results/mini/tiny").glob("box/metrics.csv"))


def _exchanged(policy: Tensor, reference: Tensor, lengths: Tensor, settings: Preference) -> Pairs:
    return of_losses(reference, policy, lengths, settings)


def _with_itself(policy: Tensor, reference: Tensor, lengths: Tensor, settings: Preference) -> Pairs:
    return of_losses(policy, policy, lengths, settings)


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (_exchanged, r"a log-ratio of \S+ of a (chosen|rejected) answer"),
        (_with_itself, "no pair with a margin at any step"),
    ],
)
def test_an_objective_that_takes_one_model_for_the_other_stops_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Any, found: str
) -> None:
    """Neither model's digest shows it, and the first step is the same."""
    monkeypatch.setattr(preference, "of_losses", wrong)
    with pytest.raises(GuardError, match=rf"I-49 at tiny/box.*found {found}"):
        run(*preferring(tmp_path))
    assert not result(tmp_path).exists()
