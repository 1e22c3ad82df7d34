"""Every path under results/, spelled out: a path that changed would leave old results behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.store.layout import Layout, split

KEY = "a" * 32
MINI = Layout(Path("/project"), "mini")


def test_everything_has_one_place() -> None:
    places = {
        MINI.results: "results",
        MINI.data: "results/mini/data",
        MINI.corpus("prose"): "results/mini/data/prose",
        MINI.preparation("prose"): "results/mini/data/.preparing/prose",
        MINI.markers: "results/.markers/mini",
        MINI.marker("ouro/warmup", KEY): f"results/.markers/mini/ouro/warmup.{KEY}",
        MINI.data_marker("prose", KEY): f"results/.markers/mini/data/prose.{KEY}",
        MINI.stage("ouro/warmup"): "results/mini/ouro/warmup",
        MINI.manifest("ouro/warmup"): "results/mini/ouro/warmup/manifest.json",
        MINI.run(KEY): f"results/.runs/{KEY}",
        MINI.log(KEY): f"results/.runs/{KEY}/log.txt",
        MINI.phase_end(KEY): f"results/.runs/{KEY}/phase",
    }
    assert {path: path.relative_to("/project").as_posix() for path in places} == places


@pytest.mark.parametrize("ref", ["", "/", "ouro", "ouro/", "/warmup", "ouro/warmup/", "a/b/c"])
def test_a_ref_is_two_names(ref: str) -> None:
    with pytest.raises(ValueError, match=f"^not a pipeline/stage: {ref!r}$"):
        split(ref)
    assert split("ouro/warmup") == ("ouro", "warmup")
