"""A merge by the engine: the average of finished stages, with the same bits under whatever names its parents have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from stages import evals
from stages.engines import run
from stages.evals.heldout import Heldout
from stages.models import merge
from stages.spec.resolved import Init, Share, Stage
from stages.spec.resolved_phases import Phase
from stages.store import manifest
from stages.store.layout import Layout
from tests.unit.train import tiny

pytestmark = pytest.mark.usefixtures("made_up_data")
FILE = "model/llm/model.safetensors"
KEYS = {"a": "a" * 32, "b": "b" * 32}


def merged(root: Path, names: dict[str, str], made_of: dict[str, tuple[int, int]]) -> Path:
    """The merge of two stages of seeds a and b, under `names`; returns its folder."""
    for which, name in names.items():
        stage = tiny.make("moe").model_copy(update={"name": name, "seed": ord(which)})
        run(stage, tiny.inputs(root, KEYS[which]))
    refs = {which: f"tiny/{name}" for which, name in names.items()}
    made = soup("soup", {refs[which]: part for which, part in made_of.items()})
    return average(root, made, {refs[which]: KEYS[which] for which in names}, "c" * 32)


def average(root: Path, stage: Stage, of: dict[str, str], key: str) -> Path:
    """Run a merge; returns its folder."""
    layout = Layout(root, "mini")
    run(stage, replace(tiny.inputs(root, key, 0), parents=manifest.parents(layout, of)))
    return layout.stage(f"tiny/{stage.name}")


def soup(name: str, made_of: dict[str, tuple[int, int]], evaluated: tuple[str, ...] = ()) -> Stage:
    """A merge of stages, by "tiny/name"."""
    init = Init(weights="merge", parent=None, release=None, optimizer="reset", layer_map=None, stand_in=False)
    shares = tuple(Share(parent=ref, part=made_of[ref]) for ref in sorted(made_of))
    plain = tiny.make("moe")
    return plain.model_copy(
        update={
            "name": name, "kind": "merge", "phases": (), "schedule": None, "optimizer": None, "trained": (),
            "init": {"llm": init}, "parents": tuple(sorted(made_of)), "merge": shares,
            "evaluation": plain.evaluation.model_copy(update={"names": evaluated}),
        }
    )  # fmt: skip


def test_a_merge_of_merges_is_evaluated_on_what_the_stages_that_trained_have_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: dict[str, tuple[Phase, ...]] = {}

    def evaluated(_: evals.Model, stage: Stage, __: Heldout, *, phases: tuple[Phase, ...]) -> dict[str, Any]:
        read[stage.name] = phases
        return {"validation": {"loss": 1.0}}

    merged(tmp_path, {"a": "left", "b": "right"}, {"a": (1, 2), "b": (1, 2)})
    monkeypatch.setattr(evals, "run", evaluated)
    again = soup("again", {"tiny/left": (1, 2), "tiny/soup": (1, 2)}, ("validation_loss",))
    average(tmp_path, again, {"tiny/left": "a" * 32, "tiny/soup": "c" * 32}, "d" * 32)
    third = soup("third", {"tiny/again": (1, 2), "tiny/soup": (1, 2)}, ("validation_loss",))
    folder = average(tmp_path, third, {"tiny/again": "d" * 32, "tiny/soup": "c" * 32}, "e" * 32)
    phases = tiny.make("moe").phases
    assert read == {"again": phases, "third": phases}
    assert json.loads((folder / "eval.json").read_text())["after"] == {"validation": {"loss": 1.0}}


def test_a_merge_is_the_average_and_names_change_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[list[Fraction]] = []
    done = merge.merge

    def watched(module: nn.Module, models: Sequence[Any]) -> None:
        order.append([share for _, share, _ in models])
        done(module, models)

    monkeypatch.setattr(merge, "merge", watched)
    shares = {"a": (1, 4), "b": (3, 4)}
    found = load_file(merged(tmp_path / "one", {"a": "left", "b": "right"}, shares) / FILE)
    one, two = (load_file(tmp_path / f"one/results/mini/tiny/{name}" / FILE) for name in ("left", "right"))
    for name, tensor in found.items():
        expected = (one[name].double() / 4 + two[name].double() * 3 / 4).float()
        torch.testing.assert_close(tensor, expected, rtol=2**-23, atol=1e-12)
    assert any(not torch.equal(found[name], one[name]) for name in found)
    other = load_file(merged(tmp_path / "two", {"a": "right", "b": "left"}, shares) / FILE)
    assert all(torch.equal(found[name], other[name]) for name in found)
    assert order == [[Fraction(1, 4), Fraction(3, 4)]] * 2, "by their keys: two orders may round alike, and need not"
    assert not (tmp_path / "one/results/mini/tiny/soup/state/optimizer.safetensors").exists()
