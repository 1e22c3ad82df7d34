"""A SigLIP folder as the hub has it comes in as MoonViT, text tower and contrastive side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import SiglipConfig, SiglipModel, SiglipTextConfig, SiglipVisionConfig

from stages.engines import Inputs
from stages.engines.received import receive
from stages.errors import UserError
from stages.models import release_files
from stages.models.moonvit_positions import rotation
from stages.spec.resolved import Init, Stage
from stages.spec.resolved_models import ContrastiveModel, MoonViTModel, TextTowerModel
from tests.unit.train import tiny

SIZES: dict[str, Any] = {"hidden": 16, "ffn": 24, "heads": 2, "init_std": 0.02}
VIT = MoonViTModel(family="moonvit", layers=2, patch=4, channels=3, table=6, rope_base=1e4, norm_eps=1e-6, **SIZES)
TEXT = TextTowerModel(family="text_tower", layers=2, vocab=61, length=8, norm_eps=1e-6, **SIZES)
SIDE = ContrastiveModel(family="contrastive", norm_eps=1e-6, init_log_temperature=2.3, init_bias=-10.0, **SIZES)
MODULES = {"vit": VIT, "text_tower": TEXT, "contrastive": SIDE}


def coca(digest: str | None = None, **modules: Any) -> Stage:
    init = Init(
        weights="release", parent=None, release="siglip", optimizer="reset", layer_map=None, stand_in=False,
        digest=digest, architecture="SiglipModel",
    )  # fmt: skip
    wanted = MODULES | modules
    changes = {"phases": (), "init": dict.fromkeys(wanted, init), "rope": None, "modules": wanted}
    return tiny.make("next_token").model_copy(update=changes)


def taken(folder: Path, stage: Stage) -> torch.nn.ModuleDict:
    inputs = Inputs(**{**tiny.inputs(folder.parent).__dict__, "releases": {"siglip": folder}})
    return receive(stage, inputs, torch.device("cpu"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """16 x 16 pixels in patches of 4: a table of 4 x 4 positions."""
    shared = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**shared, "vocab_size": 61, "max_position_embeddings": 8, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    made = SiglipModel(SiglipConfig(text_config=text, vision_config={**shared, "image_size": 16, "patch_size": 4}))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, mean=0.05, std=0.2)
    made.save_pretrained(tmp_path / "siglip")
    path = tmp_path / "siglip" / "config.json"
    config = json.loads(path.read_text())
    for part in ("text_config", "vision_config"):  # as google's folder: what is the default is left out
        config[part] = {
            key: value
            for key, value in config[part].items()
            if key in {**text, **shared, "patch_size": 4, "image_size": 16}
        }
    path.write_text(json.dumps(config, indent=2))
    return tmp_path / "siglip"


def test_text_and_contrastive_side_are_siglips_own(folder: Path) -> None:
    theirs = SiglipModel.from_pretrained(folder).eval()
    modules = taken(folder, coca(release_files.digest(folder))).eval()
    tokens = torch.arange(16).reshape(2, 8)
    with torch.no_grad():
        assert (modules["text_tower"](tokens) - theirs.text_model(tokens).pooler_output).abs().max() < 1e-5
        features = torch.randn(1, 5, 16)
        assert (modules["contrastive"].head(features) - theirs.vision_model.head(features)).abs().max() < 1e-5
    assert torch.equal(modules["contrastive"].logit_scale, theirs.logit_scale)
    assert torch.equal(modules["contrastive"].logit_bias, theirs.logit_bias)


def test_moonvit_computes_what_siglips_tower_does_where_nothing_is_rotated(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = SiglipModel.from_pretrained(folder).eval()
    vit = taken(folder, coca(vit=VIT.model_copy(update={"table": 4})))["vit"].eval()

    def still(grid: Any, head_dim: int, base: float) -> tuple[torch.Tensor, torch.Tensor]:
        cos, sin = rotation(grid, head_dim, base)
        return torch.ones_like(cos), torch.zeros_like(sin)

    monkeypatch.setattr("stages.models.moonvit.rotation", still)
    pixels = torch.randn(1, 3, 16, 16)
    patches = F.unfold(pixels, 4, stride=4)[0].T.contiguous()
    with torch.no_grad():
        wanted = theirs.vision_model(pixels).last_hidden_state[0]
        assert (vit(patches, [(4, 4)]) - wanted).abs().max() < 1e-4


def test_the_table_of_positions_is_resized_by_bicubic_interpolation(folder: Path) -> None:
    positions = SiglipModel.from_pretrained(folder).vision_model.embeddings.position_embedding.weight
    table = positions.detach().reshape(1, 4, 4, 16).permute(0, 3, 1, 2)
    wanted = F.interpolate(table, size=(6, 6), mode="bicubic", align_corners=False)[0].permute(1, 2, 0)
    found = taken(folder, coca())["vit"].patch_embed.pos_emb.weight
    assert found.shape == (6, 6, 16)
    assert (found - wanted).abs().max() < 1e-5


def change(folder: Path, **tensors: torch.Tensor | None) -> None:
    path = folder / "model.safetensors"
    found: dict[str, torch.Tensor | None] = {**load_file(path), **tensors}
    save_file({name: tensor for name, tensor in found.items() if tensor is not None}, path, metadata={"format": "pt"})


def test_positions_that_old_versions_wrote_as_integers_are_no_weights(folder: Path) -> None:
    change(folder, **{"vision_model.embeddings.position_ids": torch.arange(16)[None]})
    assert set(taken(folder, coca())) == set(MODULES)


POST = "vision_model.post_layernorm.weight"
BAD = {
    "missing": ({POST: None}, r"tensors missing: vision_model.post_layernorm.weight"),
    "a layer more": ({"vision_model.encoder.layers.2.mlp.fc1.bias": torch.ones(24)}, r"unexpected: vision_model.enc"),
    "a word more": ({"text_model.extra": torch.ones(2)}, r"tensors unexpected: text_model.extra"),
    "foreign": ({"classifier.weight": torch.ones(2, 2)}, r"tensors unexpected: classifier.weight"),
    "no square": (
        {"vision_model.embeddings.position_embedding.weight": torch.ones(15, 16)}, r"15 positions are no square"),
    "one number for a vector": ({POST: torch.tensor(1.0)}, r"post_layernorm.weight \[\] instead of \[16\]"),
    "another shape": ({POST: torch.ones(8)}, r"post_layernorm.weight \[8\] instead of \[16\]"),
    "not finite": ({POST: torch.full((16,), float("nan"))}, r"not finite: vision_model.post_layernorm.weight"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_other_tensors_are_refused(folder: Path, name: str) -> None:
    tensors, message = BAD[name]
    change(folder, **tensors)
    with pytest.raises(UserError, match=message):
        taken(folder, coca())


CONFIGS = {
    "patch_size": ("vision_config", 8, r"vision_config.patch_size: found 8; allowed: 4"),
    "hidden_size": ("text_config", 32, r"text_config.hidden_size: found 32; allowed: 16"),
    "hidden_act": ("vision_config", "gelu", r"vision_config.hidden_act: found 'gelu'; allowed: 'gelu_pytorch_tanh'"),
    "layer_norm_eps": ("text_config", 1e-5, r"text_config.layer_norm_eps: found 1e-05; allowed: 1e-06"),
    "vocab_size": ("text_config", 64, r"text_config.vocab_size: found 64; allowed: 61"),
    "num_registers": ("vision_config", 4, r"vision_config.num_registers: found 4; allowed: fields that are known"),
    "rope_theta_2d": ("text_config", 1e4, r"text_config.rope_theta_2d: found 10000.0; allowed: fields that are known"),
    "is_decoder_too": ("", True, r"is_decoder_too: found True; allowed: fields that are known"),
    "auto_map": ("vision_config", {"a": "b"}, r"vision_config.auto_map: found {'a': 'b'}; allowed: fields that are kn"),
    "add_cross_attention": ("text_config", True, r"text_config.add_cross_attention: found True; allowed: fields that"),
}


@pytest.mark.parametrize("field", CONFIGS)
def test_another_siglip_is_refused_by_file_and_line(folder: Path, field: str) -> None:
    part, value, message = CONFIGS[field]
    path = folder / "config.json"
    config = json.loads(path.read_text())
    (config[part] if part else config)[field] = value
    path.write_text(json.dumps(config, indent=2))
    with pytest.raises(UserError, match=rf"config.json:\d+: {message}") as error:
        taken(folder, coca())
    number = int(str(error.value).split("config.json:")[1].split(":")[0])
    assert f'"{field}"' in path.read_text().splitlines()[number - 1]


def test_what_transformers_4_wrote_of_every_part_is_of_no_effect(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for part, kind in (("text_config", SiglipTextConfig), ("vision_config", SiglipVisionConfig)):
        config[part] = kind(**config[part]).to_dict()
    path.write_text(json.dumps(config))
    assert set(taken(folder, coca())) == set(MODULES)
