"""Figures that a source says are a published model's: notices where its config.json has others."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.notices.configurations import other_figures
from stages.check.notices.run import as_written
from stages.spec.project import Project
from tests import shipped
from tests.unit.check.told import of_all
from tests.unit.spec.small_project import edit

KIMI, LLAMA, BASE = "kimi_vl/pipeline.yaml", "llama31_1m/pipeline.yaml", "llama31_1m/base.yaml"


def told(root: Path) -> list[str]:
    project = Project.load(root)
    return of_all(project, lambda loaded: other_figures(loaded, project.data))


def test_the_shipped_figures_are_those_that_they_cite() -> None:
    assert told(shipped.ROOT) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (KIMI, "heads: 16\n    patch", "heads: 18\n    patch",
         "models.moonvit.heads is 18, and the published config.json has 16 (siglip-so400m-patch14)."),
        (KIMI, "routed_scale: 2.446", "routed_scale: 2.64",
         "models.moonlight.routed_scale is 2.64, and the published config.json has 2.446 (Moonlight-16B-A3B)."),
        (LLAMA, "norm_eps: 1e-5", "norm_eps: 1e-6",
         "models.llama31_8b.norm_eps is 1e-6, and the published config.json has 1e-5 (Llama-3.1-8B)."),
        (BASE, "base: 500_000", "base: 50_000",
         "rope.base is 50_000, and the published config.json has 500_000 (Llama-3.1-8B)."),
        (BASE, "factor: 8", "factor: 32",
         "rope.llama3.factor is 32, and the published config.json has 8 (Llama-3.1-8B)."),
        (BASE, "interpolation: 1", "interpolation: 8",
         "rope.interpolation is 8, and the published config.json has 1 (Llama-3.1-8B)."),
        ("kimi_vl/joint_longctx.yaml", "base: 800_000", "base: 8_000_000",
         "rope.base is 8_000_000, and the published config.json has 800_000 (Kimi-VL-A3B)."),
    ],
)  # fmt: skip
def test_a_figure_that_the_file_does_not_have(tmp_path: Path, file: str, old: str, new: str, said: str) -> None:
    line = edit(shipped.copy(tmp_path), file, old, new)
    (notice,) = told(tmp_path)
    assert notice == f"specs/{file}:{line}: {said}"
    assert notice in as_written(Project.load(tmp_path))


def test_either_of_two_models_that_one_source_cites(tmp_path: Path) -> None:
    """Ouro's two sizes have one source: 24 layers are the one's, 48 the other's."""
    root = shipped.copy(tmp_path)
    edit(root, "ouro/pipeline.yaml", "    layers: 48", "    layers: 84")
    (notice,) = told(root)
    assert notice.endswith(
        "models.ouro_2_6b.layers is 84, and the published config.json has 24 (Ouro-1.4B) and 48 (Ouro-2.6B)."
    )


def test_a_release_is_its_own_source(tmp_path: Path) -> None:
    """Whatever the sources say of its sizes: the folder has those of its config.json."""
    root = shipped.copy(tmp_path)
    published = 'mark: published, citation: "Llama-3.1-8B config.json; arXiv 2407.21783 table 3"}'
    edit(root, LLAMA, published, "mark: chosen}")
    assert told(root) == []
    edit(root, LLAMA, "ffn: 14_336", "ffn: 13_446")
    (notice,) = told(root)
    assert "models.llama31_8b.ffn is 13_446, and the published config.json has 14336 (Llama-3.1-8B)." in notice


@pytest.mark.parametrize(
    ("source", "said"),
    [("google/siglip-base-patch16-224", "moonvit.layers is 27, and the published config.json has 12"),
     ("google/siglip2-so400m-patch14-384", "text_tower.vocab is 32_000, and the published config.json has 256000"),
     ("google/siglip-so400m-patch14-224", ""), ("our/own-towers", "")],
)  # fmt: skip
def test_towers_of_another_release(tmp_path: Path, source: str, said: str) -> None:
    edit(shipped.copy(tmp_path), "releases/siglip.yaml", "google/siglip-so400m-patch14-384", source)
    notices = told(tmp_path)
    assert bool(notices) == bool(said)
    assert any(said in one for one in notices) == bool(said)


def test_a_figure_that_is_assumed_may_be_any(tmp_path: Path) -> None:
    """Interpolation of the stages that extend: their source is none of config.json."""
    root = shipped.copy(tmp_path)
    edit(root, KIMI, "  - covers: [models.moonlight]\n    mark: published\n    citation: ",
         "  - covers: [models.moonlight]\n    mark: derived\n    reason: ")  # fmt: skip
    edit(root, KIMI, "routed_scale: 2.446", "routed_scale: 2.5")
    assert told(root) == []
