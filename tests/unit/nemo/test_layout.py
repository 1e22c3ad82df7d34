from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stages.engines.nemo import layout, names, names_llama, names_moonlight
from stages.engines.nemo.layout import ALONE, LAYER, Below, Form, QueryGroups, Rule, Rules
from stages.errors import UserError
from stages.models import build
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.project import Project
from tests.unit.train import tiny

ROOT = Path(__file__).parents[3]

FORMS: list[tuple[Form, list[tuple[int, ...]]]] = [
    (ALONE, [(6, 5)]),
    (Below(2), [(3, 5), (3, 5)]),
    (QueryGroups(queries=3, head_dim=4), [(24, 5), (8, 5), (8, 5)]),
    (QueryGroups(queries=1, head_dim=2), [(2, 5), (2, 5), (2, 5)]),
]


@pytest.mark.parametrize(("form", "shapes"), FORMS)
def test_what_is_joined_is_split_into_the_same(form: Form, shapes: list[tuple[int, ...]]) -> None:
    ours = [torch.randn(shape) for shape in shapes]
    fused = form.join(ours)
    assert fused.numel() == sum(part.numel() for part in ours)
    assert all(torch.equal(a, b) for a, b in zip(form.split(fused), ours, strict=True))
    assert torch.equal(form.join(form.split(fused)), fused)


def test_a_group_of_queries_is_followed_by_its_key_and_its_value() -> None:
    q, k, v = (torch.tensor([[number] for number in numbers]) for numbers in ((10, 11, 12, 13), (20, 21), (30, 31)))
    assert QueryGroups(queries=2, head_dim=1).join([q, k, v]).flatten().tolist() == [10, 11, 20, 30, 12, 13, 21, 31]


@pytest.mark.parametrize(("cut", "parts"), [(0, 2), (1, 5), (None, 1)])
def test_the_parts_of_all_ranks_are_the_whole(cut: int | None, parts: int) -> None:
    whole = torch.arange(30).view(6, 5)
    found = torch.full_like(whole, -1)
    shape = [size // parts if i == cut else size for i, size in enumerate(whole.shape)]
    assert layout.whole_shape(shape, cut, parts) == whole.shape
    for part in range(parts):
        place = layout.region(shape, cut, part)
        assert (found[place] == -1).all()
        found[place] = whole[place]
    assert torch.equal(found, whole)


def test_a_layers_number_goes_into_our_names() -> None:
    found = Rules(
        [Rule(f"l.{LAYER}.w", (f"llm.{LAYER}.gate", f"llm.{LAYER}.up"), form=Below(2)), Rule("n.w", ("llm.n",))]
    )
    layer, norm = found.place("l.12.w"), found.place("n.w")
    assert layer is not None
    assert norm is not None
    assert layer.targets == ("llm.12.gate", "llm.12.up")
    assert norm.targets == ("llm.n",)
    assert found.place("l.1.w.bias") is None
    assert found.place("lx1.w") is None


def test_the_rules_of_moonlight_name_every_tensor_of_ours_and_its_buffers() -> None:
    cfg = Project.load(ROOT).resolve("kimi_vl", "mini").stages["text_pretrain"].modules["llm"]
    assert isinstance(cfg, MoonlightModel)
    ours = {f"llm.{name}" for name in build.make(cfg, tiny.ROPE, "meta").state_dict()}
    rules = Rules(names_moonlight.rules(cfg, "llm"))
    theirs = [name for rule in names_moonlight.rules(cfg, "llm") for name in _numbered(rule, cfg)]
    found = [target for name in theirs for placed in [rules.place(name)] if placed for target in placed.targets]
    assert sorted(found) == sorted(ours)


def _numbered(rule: Rule, cfg: MoonlightModel) -> list[str]:
    """Megatron's names of a rule in the layers that have it: feed-forward networks are dense, then of experts."""
    if LAYER not in rule.pattern:
        return [rule.pattern]
    kind = rule.pattern.rpartition(".mlp.")[2] if ".mlp." in rule.pattern else ""
    dense, routed = range(cfg.dense_layers), range(cfg.dense_layers, cfg.layers)
    layers = range(cfg.layers) if not kind else dense if kind.startswith("linear") else routed
    return [rule.pattern.replace(LAYER, str(layer)) for layer in layers]


@pytest.mark.parametrize("tied", [False, True])
def test_the_rules_of_llama_name_every_tensor_of_ours(tied: bool) -> None:
    cfg = tiny.LLAMA.model_copy(update={"tied": tied})
    ours = {f"llm.{name}" for name in build.make(cfg, tiny.ROPE, "meta").state_dict()}
    found = {
        name.replace(LAYER, str(layer))
        for rule in names_llama.rules(cfg, "llm")
        for name in rule.names
        for layer in (0, 1)
    }
    assert found == ours


def test_a_model_that_the_engine_does_not_have_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"has no model of caption_decoder with .*Train this stage with `engine: torch`"
    ):
        names.rules(tiny.make("coca"))
