"""Closed-form parameter counts against the models themselves, on the meta device."""

from typing import Any

import pytest

from stages.contract.parameters import parameters
from stages.models.build import make
from stages.spec.resolved_models import Rope
from tests import shipped

ROPE = Rope(base=10_000.0, llama3=None, interpolation=1.0)
PUBLISHED = {
    "llama": ["8.03B"],
    "moonlight": ["15.96B"],
    "moonvit": ["416.9M"],
    "projector": ["30.68M"],
    "ouro": ["1.435B", "2.668B"],
}


def models(scale: str) -> dict[str, Any]:
    project = shipped.project()
    return {
        f"{pipeline}/{stage.name}/{name}": model
        for pipeline in project.pipelines(variants=False)
        for stage in project.resolve(pipeline, scale).stages.values()
        for name, model in stage.modules.items()
    }


@pytest.mark.parametrize("scale", ["paper", "mini"])
def test_equal_what_is_built(scale: str) -> None:
    for model, name in {model: name for name, model in models(scale).items()}.items():  # each once
        built = make(model, ROPE, "meta")
        assert parameters(model).total == sum(each.numel() for each in built.parameters()), name


@pytest.mark.parametrize("merge", [1, 2, 3])
def test_a_projector_of_any_merge_equals_what_is_built(merge: int) -> None:
    cfg = models("mini")["kimi_vl/vit_align/projector"].model_copy(update={"merge": merge})
    assert parameters(cfg).total == sum(each.numel() for each in make(cfg, ROPE, "meta").parameters())


def test_only_language_models_have_a_head_and_only_tables_are_embeddings() -> None:
    """The position table of the vision tower; words and positions of captions; the rest looks nothing up."""
    coca, align = (f"kimi_vl/{stage}" for stage in ("vit_coca", "vit_align"))
    found = {name: parameters(model) for name, model in models("mini").items()}
    vit = models("mini")[f"{coca}/vit"]
    for name in (f"{coca}/vit", f"{coca}/text_tower", f"{coca}/decoder", f"{coca}/contrastive", f"{align}/projector"):
        assert (found[name].head, found[name].idle) == (0, 0)
    assert found[f"{coca}/vit"].embedding == vit.table**2 * vit.hidden
    assert found[f"{coca}/contrastive"].embedding == found[f"{align}/projector"].embedding == 0
    for captions in ("text_tower", "decoder"):
        cfg = models("mini")[f"{coca}/{captions}"]
        assert found[f"{coca}/{captions}"].embedding == (cfg.vocab + cfg.length) * cfg.hidden


def test_published_counts() -> None:
    found: dict[str, set[str]] = {}
    for model in models("paper").values():
        found.setdefault(model.family, set()).add(f"{parameters(model).total:.4g}")
    for family, published in PUBLISHED.items():
        wanted = {f"{float(text[:-1]) * {'M': 1e6, 'B': 1e9}[text[-1]]:.4g}" for text in published}
        assert wanted <= found[family]


def test_moonlight_active_without_embedding_and_head() -> None:
    moonlight = models("paper")["kimi_vl/text_pretrain/llm"]
    assert f"{parameters(moonlight).active / 1e9:.3g}" == "2.24"


def test_a_tied_head_is_the_embedding() -> None:
    model = models("mini")["ouro/warmup/llm"]
    tied, own = parameters(model.model_copy(update={"tied": True})), parameters(model)
    assert (tied.head, own.total - tied.total) == (0, model.vocab * model.hidden)
    assert tied.active == own.active
