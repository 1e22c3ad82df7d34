"""Figures that a source says are a published model's: notices where its config.json has others."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.notices.configurations import PUBLISHED, other_figures
from stages.check.notices.run import as_written
from stages.contract.parameters import parameters
from stages.spec.families import FAMILIES
from stages.spec.project import Project
from tests import shipped
from tests.unit.check import recipes
from tests.unit.check.reported import of_all
from tests.unit.spec.small_project import edit

KIMI, LLAMA, BASE = "kimi_vl/pipeline.yaml", "llama31_1m/pipeline.yaml", "llama31_1m/base.yaml"


def told(root: Path) -> list[str]:
    project = Project.load(root)
    return of_all(project, lambda loaded: other_figures(loaded, project.data))


def test_the_shipped_figures_are_those_that_they_cite() -> None:
    assert told(shipped.ROOT) == []


def test_a_citation_of_another_model_than_the_release(tmp_path: Path) -> None:
    """Copied with its block: the release has these figures, and the file that is cited has not."""
    edit(shipped.copy(tmp_path), LLAMA, "Llama-3.1-8B config.json", "Llama-3.2-3B config.json")
    said = [one.partition(": ")[2] for one in told(tmp_path)]
    assert said[0] == "models.llama31_8b.layers is 32, and the published config.json has 28 (Llama-3.2-3B)."
    assert {one.partition(" is ")[0].rpartition(".")[2] for one in said} == {"layers", "hidden", "ffn", "heads"}


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
        (BASE, "llama3: {factor: 8, low: 1, high: 4, original: 8Ki}", "llama3: none",
         "rope.llama3 is none, and the published config.json has it (Llama-3.1-8B)."),
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


@pytest.mark.parametrize("source", ["meta-llama/Llama-3.1-8B", "meta-llama/Meta-Llama-3.1-8B-Instruct"])
def test_a_release_is_its_own_source(tmp_path: Path, source: str) -> None:
    """Whatever the sources say of its sizes: the folder has those of its config.json."""
    root = shipped.copy(tmp_path)
    edit(root, "releases/llama31_8b.yaml", "source: meta-llama/Llama-3.1-8B", f"source: {source}")
    published = 'mark: published, citation: "Llama-3.1-8B config.json; arXiv 2407.21783 table 3"}'
    edit(root, LLAMA, published, "mark: chosen}")
    assert told(root) == []
    edit(root, LLAMA, "ffn: 14_336", "ffn: 13_446")
    (notice,) = told(root)
    assert "models.llama31_8b.ffn is 13_446, and the published config.json has 14336 (Llama-3.1-8B)." in notice


@pytest.mark.parametrize(
    ("source", "eps", "said"),
    [("Qwen2.5-32B-Instruct", "1e-6", ""), ("Qwen2.5-32B", "1e-5", ""),
     ("Qwen/Qwen2.5-32B-Instruct", "1e-5", "norm_eps is 1e-5, and the published config.json has 1e-6"),
     ("Qwen/Qwen2.5-32B", "1e-6", "norm_eps is 1e-6, and the published config.json has 1e-5"),
     ("Qwen2.5-7B-Instruct", "1e-6", "layers is 64, and the published config.json has 28 (Qwen2.5-7B)")],
)  # fmt: skip
def test_a_tuned_model_with_another_epsilon_than_its_base(tmp_path: Path, source: str, eps: str, said: str) -> None:
    model = {"family": "qwen2", "layers": 64, "hidden": 5120, "ffn": 27_648, "heads": 40, "kv_heads": 8}
    one = {**recipes.recipes()["qwen25_7b"], "model": {**model, "vocab": 152_064, "norm_eps": eps}}
    root = recipes.write(tmp_path, "qwen25_7b", one)
    edit(root, "qwen25_7b/pipeline.yaml", "mark: chosen}", f"mark: published, citation: {source} config.json}}")
    found = told(root)
    assert bool(found) == bool(said)
    assert any(said in one for one in found) == bool(said)


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


# What is published of each, in millions.
COUNTS = {
    "Llama-3.1-8B": 8_030, "Llama-3.1-70B": 70_554, "Llama-3.2-1B": 1_236, "Llama-3.2-3B": 3_213,
    "Qwen2.5-0.5B": 494, "Qwen2.5-1.5B": 1_544, "Qwen2.5-3B": 3_086, "Qwen2.5-7B": 7_616, "Qwen2.5-14B": 14_770,
    "Qwen2.5-32B": 32_764, "Qwen2.5-72B": 72_706, "Qwen2.5-14B-Instruct": 14_770, "Qwen2.5-32B-Instruct": 32_764,
    "Qwen2.5-72B-Instruct": 72_706, "Qwen3-0.6B": 596, "Qwen3-1.7B": 1_721, "Qwen3-4B": 4_022,
    "Qwen3-8B": 8_191, "Qwen3-14B": 14_768, "Qwen3-32B": 32_762, "Qwen3-30B-A3B": 30_532, "OLMo-2-1124-7B": 7_299,
    "OLMo-2-1124-13B": 13_716, "SmolLM2-135M": 135, "SmolLM2-360M": 362, "SmolLM2-1.7B": 1_711,
    "Mistral-7B-v0.1": 7_242, "Moonlight-16B-A3B": 15_960, "Kimi-VL-A3B": 15_960, "Ouro-1.4B": 1_435,
    "Ouro-2.6B": 2_668,
}  # fmt: skip
TIED = ("Llama-3.2", "Qwen2.5-0.5B", "Qwen2.5-1.5B", "Qwen2.5-3B", "Qwen3-0.6B", "Qwen3-1.7B", "Qwen3-4B", "SmolLM2")


def test_the_table_has_the_language_models_that_are_counted_here() -> None:
    assert {name for name, families in PUBLISHED.items() if families.keys() & FAMILIES.keys()} == COUNTS.keys()


@pytest.mark.parametrize("name", COUNTS)
def test_the_sizes_of_the_table_come_to_what_is_published(name: str) -> None:
    (family,) = PUBLISHED[name].keys() & FAMILIES.keys()
    figures = {key: float(text.replace("_", "")) for key, text in PUBLISHED[name][family].items()}
    others = {"family": family, "tied": name.startswith(TIED), "init_std": 0.02, "post_norm_gain": 1.0}
    fields = {key: int(value) if value.is_integer() else value for key, value in figures.items()} | others
    model = FAMILIES[family]
    own = {key: value for key, value in fields.items() if key in model.model_fields}
    count = parameters(model.model_validate(own)).total
    assert round(count / 10**6) == COUNTS[name]
