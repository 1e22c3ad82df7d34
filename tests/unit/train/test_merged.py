"""A merge by the engine: the average of finished stages, with the same bits under whatever names its parents have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from stages.engines import run
from stages.models import merge
from stages.spec.resolved import Init, Share
from stages.store import manifest
from stages.store.layout import Layout
from tests.unit.train import tiny

pytestmark = pytest.mark.usefixtures("made_up_data")
FILE = "model/llm/model.safetensors"
KEYS = {"a": "a" * 32, "b": "b" * 32}


def merged(root: Path, names: dict[str, str], made_of: dict[str, tuple[int, int]]) -> Path:
    """The merge of two stages of seeds a and b, under `names`; returns its folder."""
    layout = Layout(root, "mini")
    for which, name in names.items():
        stage = tiny.make("moe").model_copy(update={"name": name, "seed": ord(which)})
        run(stage, tiny.inputs(root, KEYS[which]))
    refs = {which: f"tiny/{name}" for which, name in names.items()}
    parents = manifest.parents(layout, {refs[which]: KEYS[which] for which in names})
    init = Init(weights="merge", parent=None, release=None, optimizer="reset", layer_map=None, stand_in=False)
    shares = tuple(
        sorted((Share(parent=refs[one], part=part) for one, part in made_of.items()), key=lambda s: s.parent)
    )
    stage = tiny.make("moe").model_copy(
        update={
            "name": "soup", "kind": "merge", "phases": (), "schedule": None, "optimizer": None, "trained": (),
            "init": {"llm": init}, "parents": tuple(sorted(refs.values())), "merge": shares,
        }
    )  # fmt: skip
    run(stage, replace(tiny.inputs(root, "c" * 32, 0), parents=parents))
    return layout.stage("tiny/soup")


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
