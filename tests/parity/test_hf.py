"""Model folders: transformers reads them with the same logits; we read them back or say exactly why not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from stages.errors import UserError
from stages.models import hf, hf_config
from stages.models.build import initialise, make
from stages.spec.families.llama import LlamaModel
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.families.ouro import OuroModel
from stages.spec.language_model import LanguageModel
from stages.spec.resolved_models import Llama3Scaling, ProjectorModel, Rope
from tests.rounding import noise

LLAMA3 = Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=32)
PLAIN = Rope(base=50_000.0, llama3=None, interpolation=1.0)
LLAMA = LlamaModel(
    family="llama", layers=2, hidden=32, ffn=48, heads=4, kv_heads=2, head_dim=8, vocab=61, norm_eps=1e-5,
    tied=False, init_std=0.2,
)  # fmt: skip
MOONLIGHT = MoonlightModel(
    family="moonlight", layers=2, dense_layers=1, hidden=32, ffn=48, heads=2, vocab=61, kv_lora_rank=16,
    qk_nope_dim=8, qk_rope_dim=8, v_head_dim=8, experts=4, active_experts=2, shared_experts=1, expert_ffn=16,
    routed_scale=2.446, norm_eps=1e-5, tied=False, init_std=0.2,
)  # fmt: skip
OURO = OuroModel(
    family="ouro", layers=2, hidden=32, ffn=48, heads=4, kv_heads=4, head_dim=8, vocab=61, norm_eps=1e-6,
    tied=False, init_std=0.2, post_norm_gain=1.0,
)  # fmt: skip
CASES = {
    "llama": (LLAMA, PLAIN, None),
    "llama3": (LLAMA, Rope(base=500_000.0, llama3=LLAMA3, interpolation=1.0), None),
    "linear": (LLAMA, Rope(base=10_000.0, llama3=None, interpolation=4.0), None),
    "longrope": (LLAMA, Rope(base=500_000.0, llama3=LLAMA3, interpolation=8.0), None),
    "tied": (LLAMA.model_copy(update={"tied": True}), PLAIN, None),
    "moonlight": (MOONLIGHT, PLAIN, None),
    "ouro": (OURO, PLAIN, 4),
}

# The module, what it was built from, its loops, and the folder that it is exported to.
Case = tuple[Any, LanguageModel, Rope, int | None, Path]


def built(cfg: LanguageModel, rope: Rope, seed: int = 1) -> Any:
    module = make(cfg, rope, "cpu").eval()
    initialise(module, "llm", cfg, seed)
    return module


@pytest.fixture
def case(kind: str, tmp_path: Path) -> Case:
    cfg, rope, loops = CASES[kind]
    module = built(cfg, rope)
    for buffer_name, buffer in module.named_buffers():
        if buffer_name.endswith("e_score_correction_bias"):
            buffer.copy_(torch.linspace(-0.1, 0.1, len(buffer)))
    hf.save(module, cfg, rope, 256, tmp_path / "model", loops)
    return module, cfg, rope, loops, tmp_path / "model"


@pytest.mark.parametrize("kind", sorted(CASES.keys() - {"ouro"}))  # transformers 4.57.6 has no Ouro
def test_transformers_reads_it_with_the_same_logits(case: Case) -> None:
    module, cfg, _, _, folder = case
    theirs = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokens = torch.randint(0, 61, (2, 300), generator=torch.Generator().manual_seed(0))  # past the declared 256

    def logits() -> Tensor:
        return module.logits(module(tokens, torch.arange(300).expand(2, -1), None, None))

    allowed = noise(module, logits, max(cfg.hidden, cfg.ffn))
    with torch.no_grad():
        got = logits()
        for length in (40, 300):
            want = theirs(tokens[:, :length]).logits
            assert (got[:, :length] - want).abs().max() <= allowed


@pytest.mark.parametrize("kind", CASES)
def test_reading_back_gives_the_same_model_and_the_same_bytes(case: Case, tmp_path: Path) -> None:
    module, cfg, rope, loops, folder = case
    config = hf_config.read(folder)
    assert (config.model, config.rope, config.max_context, config.loops) == (cfg, rope, 256, loops)
    again = built(cfg, rope, seed=2)
    hf.load(again, folder)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    hf.save(again, cfg, rope, 256, tmp_path / "again", loops)
    for name in ("model.safetensors", "config.json"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("kind", CASES)
def test_an_edited_config_is_not_half_believed(case: Case) -> None:
    folder = case[-1]
    path = folder / "config.json"
    edited = json.loads(path.read_text())
    edited["rope_theta"] = 123.0
    path.write_text(json.dumps(edited))
    with pytest.raises(UserError, match=r"config.json: rope_theta disagree"):
        hf_config.read(folder)


def damage(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.norm.weight"), r"tensors missing: model.norm.weight"),
        (lambda t: t.update(extra=torch.zeros(2)), r"tensors unexpected: extra"),
        (lambda t: t.update({"model.norm.weight": torch.ones(3)}), r"model.norm.weight \[3\] instead of \[32\]"),
        (lambda t: t.pop("model.layers.1.mlp.experts.3.up_proj.weight"), r"missing: .*experts.3.up_proj.weight"),
    ],
    ids=["missing", "unexpected", "shape", "expert"],
)
def test_loading_is_strict_and_changes_nothing_on_failure(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    hf.save(built(MOONLIGHT, PLAIN), MOONLIGHT, PLAIN, 256, tmp_path)
    damage(tmp_path, change)
    module = built(MOONLIGHT, PLAIN, seed=2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(UserError, match=message):
        hf.load(module, tmp_path)
    assert all(torch.equal(tensor, module.state_dict()[name]) for name, tensor in before.items())


def test_folders_without_readable_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config.json: not found"):
        hf_config.read(tmp_path)
    with pytest.raises(UserError, match=r"no \*.safetensors file"):
        hf.load(built(LLAMA, PLAIN), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not one")
    with pytest.raises(UserError, match=r"model.safetensors: damaged"):
        hf.load(built(LLAMA, PLAIN), tmp_path)


def test_shards_are_one_model(tmp_path: Path) -> None:
    module = built(LLAMA, PLAIN)
    tensors = dict(module.state_dict())
    names = sorted(tensors)
    save_file({name: tensors[name] for name in names[::2]}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({name: tensors[name] for name in names[1::2]}, tmp_path / "model-00002-of-00002.safetensors")
    again = built(LLAMA, PLAIN, seed=2)
    hf.load(again, tmp_path)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in tensors.items())


def test_modules_that_transformers_does_not_know_are_kept_too(tmp_path: Path) -> None:
    cfg = ProjectorModel(
        family="projector", vision_hidden=8, merge=2, llm_hidden=6, norm_eps=1e-5, init_std=0.02
    )  # fmt: skip
    module = make(cfg, None, "cpu")
    initialise(module, "projector", cfg, 1)
    hf.save(module, cfg, None, None, tmp_path)
    assert hf_config.read(tmp_path).model == cfg
    again = make(cfg, None, "cpu")
    hf.load(again, tmp_path)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in module.state_dict().items())
