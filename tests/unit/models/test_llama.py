"""A language model's promises: documents do not see each other, initial weights are functions of their names."""

from typing import Any

import pytest
import torch
from torch import Tensor

from stages.models.build import initialise, make, normal
from stages.spec.families.llama import LlamaModel
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.families.ouro import OuroModel
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Model
from stages.spec.resolved_models import ContrastiveModel, Rope
from tests.unit.models.rows import documents

ROPE = Rope(base=10_000.0, llama3=None, interpolation=1.0)
SHARED: dict[str, Any] = {
    "layers": 2,
    "hidden": 16,
    "ffn": 24,
    "heads": 2,
    "vocab": 31,
    "norm_eps": 1e-5,
    "tied": False,
    "init_std": 0.2,
}
MODELS = {
    "llama": LlamaModel(family="llama", kv_heads=1, head_dim=8, **SHARED),
    "ouro": OuroModel(family="ouro", kv_heads=2, head_dim=8, post_norm_gain=1.0, **SHARED),
    "moonlight": MoonlightModel(
        family="moonlight", dense_layers=1, kv_lora_rank=8, qk_nope_dim=8, qk_rope_dim=4, v_head_dim=8, experts=4,
        active_experts=2, shared_experts=1, expert_ffn=12, routed_scale=2.446, **SHARED,
    ),
}  # fmt: skip


def built(cfg: Model, seed: int = 1, name: str = "llm") -> Any:
    module = make(cfg, ROPE, "cpu")
    initialise(module, name, cfg, seed)
    return module


def hidden(
    module: Any,
    cfg: LanguageModel,
    tokens: Tensor,
    positions: Tensor,
    segments: Tensor | None,
    embeddings: Tensor | None = None,
) -> Any:
    made = None if segments is None else documents(segments)
    if cfg.family == "ouro":
        return module(tokens, positions, made, embeddings, loops=2)[0][-1]
    return module(tokens, positions, made, embeddings)


@pytest.mark.parametrize("lengths", [(30, 20, 14), (90, 40, 70)], ids=["short", "long"])
@pytest.mark.parametrize("family", MODELS)
def test_changing_a_document_changes_no_bit_of_the_others(family: str, lengths: tuple[int, ...]) -> None:
    cfg = MODELS[family]
    module = built(cfg).eval()
    segments = torch.repeat_interleave(torch.arange(3, dtype=torch.int32), torch.tensor(lengths))[None]
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    tokens = torch.randint(0, 31, segments.shape, generator=torch.Generator().manual_seed(0))
    other = torch.where(segments == 1, (tokens + 7) % 31, tokens)
    with torch.no_grad():
        before, after = (hidden(module, cfg, t, positions, segments) for t in (tokens, other))
        alone = hidden(module, cfg, tokens[:, : lengths[0]], positions[:, : lengths[0]], None)
    apart = segments[0] != 1
    assert torch.equal(before[:, apart], after[:, apart])
    assert (before[:, ~apart] - after[:, ~apart]).abs().max() > 0.1
    torch.testing.assert_close(before[:, : lengths[0]], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", MODELS)
def test_embeddings_replace_tokens(family: str) -> None:
    cfg = MODELS[family]
    module = built(cfg).eval()
    tokens, positions = torch.arange(8)[None], torch.arange(8)[None]
    with torch.no_grad():
        given = hidden(module, cfg, tokens, positions, None, module.embed(tokens + 3))
        assert torch.equal(given, hidden(module, cfg, tokens + 3, positions, None))


@pytest.mark.parametrize("family", MODELS)
def test_initial_weights_depend_on_seed_module_and_name_only(family: str) -> None:
    cfg = MODELS[family]
    first = built(cfg).state_dict()
    torch.manual_seed(99)
    state_before = torch.random.get_rng_state()
    assert all(torch.equal(tensor, first[name]) for name, tensor in built(cfg).state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state_before)
    deeper = built(cfg.model_copy(update={"layers": 3})).state_dict()
    assert all(torch.equal(tensor, deeper[name]) for name, tensor in first.items())
    for changed in (built(cfg, seed=2), built(cfg, name="other")):
        assert not torch.equal(changed.state_dict()["model.embed_tokens.weight"], first["model.embed_tokens.weight"])


@pytest.mark.parametrize("family", MODELS)
def test_norms_start_at_one_biases_at_zero_matrices_at_the_declared_deviation(family: str) -> None:
    for name, tensor in built(MODELS[family]).state_dict().items():
        if "bias" in name:
            assert not tensor.any(), name
        elif "norm" in name:
            assert (tensor == 1).all(), name
        else:
            assert 0.1 < tensor.std() < 0.3, name


def test_a_parameters_numbers_are_fixed_for_ever() -> None:
    digits = normal(7, "llm|lm_head.weight", torch.Size([3]), 1.0)
    assert torch.equal(digits, normal(7, "llm|lm_head.weight", torch.Size([3]), 1.0))
    assert torch.equal(digits * 0.5, normal(7, "llm|lm_head.weight", torch.Size([3]), 0.5))


def test_a_language_model_without_rope_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the stage's rope"):
        make(MODELS["llama"], None, "cpu")


def test_the_contrastive_scalars_are_the_specs_and_its_pooling_head_is_seeded() -> None:
    cfg = ContrastiveModel(
        family="contrastive", hidden=8, ffn=16, heads=2, norm_eps=1e-6, init_std=0.2,
        init_log_temperature=2.5, init_bias=-10.0,
    )  # fmt: skip
    first, again = (built(cfg).state_dict() for _ in range(2))
    assert first["logit_scale"].item() == 2.5
    assert first["logit_bias"].item() == -10.0
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert sum(tensor.std() > 0.1 for tensor in first.values() if tensor.ndim > 1) >= 3
