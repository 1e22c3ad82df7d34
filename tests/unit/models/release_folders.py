"""Folders of a small released model, made by transformers, and edits of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, DeepseekV3Config, LlamaConfig, LlamaForCausalLM

from stages.engines import Inputs
from stages.engines.received import receive
from stages.spec.families.llama import LlamaModel
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Init, Stage
from stages.spec.resolved_models import Llama3Scaling, Rope
from tests.unit.train import tiny

LLAMA = LlamaModel(
    family="llama", layers=2, hidden=16, ffn=24, heads=4, kv_heads=2, head_dim=4, vocab=61, norm_eps=1e-5, tied=False,
    init_std=0.02,
)  # fmt: skip
TIED = LLAMA.model_copy(update={"tied": True})
MOON = MoonlightModel(
    family="moonlight", layers=2, dense_layers=1, hidden=16, ffn=24, heads=2, vocab=61, kv_lora_rank=8, qk_nope_dim=4,
    qk_rope_dim=4, v_head_dim=4, experts=4, active_experts=2, shared_experts=1, expert_ffn=8, routed_scale=2.0,
    norm_eps=1e-5, tied=False, init_std=0.02,
)  # fmt: skip
PLAIN = Rope(base=500_000.0, llama3=None, interpolation=1.0)
SCALED = Rope(base=500_000.0, llama3=Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=64), interpolation=1.0)
SCALING = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 64}  # fmt: skip
SIZES: dict[str, Any] = {
    "vocab_size": 61, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
}  # fmt: skip


def importing(model: LanguageModel = LLAMA, rope: Rope = SCALED, digest: str | None = None) -> Stage:
    architecture = "LlamaForCausalLM" if isinstance(model, LlamaModel) else "DeepseekV3ForCausalLM"
    init = Init(
        weights="release", parent=None, release="given", optimizer="reset", layer_map=None, stand_in=False,
        digest=digest, architecture=architecture,
    )  # fmt: skip
    changes = {"kind": "import", "phases": (), "init": {"llm": init}, "rope": rope, "modules": {"llm": model},
               "max_context": 512}  # fmt: skip
    return tiny.make("next_token").model_copy(update=changes)


def taken(folder: Path, stage: Stage) -> torch.nn.Module:
    inputs = Inputs(**{**tiny.inputs(folder.parent).__dict__, "releases": {"given": folder}})
    return receive(stage, inputs, torch.device("cpu"))["llm"]


def written(folder: Path, model: str = "llama", **how: Any) -> Path:
    """A folder as transformers writes it."""
    torch.manual_seed(0)
    if model == "llama":
        config = LlamaConfig(**{**SIZES, "rope_scaling": SCALING, **how.pop("config", {})})
        made = LlamaForCausalLM(config)
    else:
        config = DeepseekV3Config(
            vocab_size=61, hidden_size=16, intermediate_size=24, moe_intermediate_size=8, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, n_shared_experts=1, n_routed_experts=4,
            routed_scaling_factor=2.0,
            kv_lora_rank=8, q_lora_rank=None, qk_rope_head_dim=4, v_head_dim=4, qk_nope_head_dim=4, n_group=1,
            topk_group=1, num_experts_per_tok=2, first_k_dense_replace=1, max_position_embeddings=512,
            rms_norm_eps=1e-5, rope_theta=500_000.0,
        )  # fmt: skip
        made = AutoModelForCausalLM.from_config(config)
    made.to(how.pop("dtype", torch.float32)).save_pretrained(folder, **how)
    return folder


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good folder of two shards with an index, copied for each case."""
    return written(tmp_path_factory.mktemp("pattern") / "given", max_shard_size="12KB")


@pytest.fixture
def folder(pattern: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pattern, tmp_path / "given"))


def edit(folder: Path, **fields: Any) -> None:
    """Set fields of config.json; ... takes one away."""
    path = folder / "config.json"
    found = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not ...}, indent=2))


def edits(**fields: Any) -> Callable[[Path], object]:
    return lambda folder: edit(folder, **fields)


def tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        path = sorted(folder.glob("model-*.safetensors"))[0]
        found = load_file(path)
        change(found)
        save_file(found, path, metadata={"format": "pt"})

    return apply


def first(found: dict[str, torch.Tensor]) -> str:
    return next(name for name, tensor in sorted(found.items()) if tensor.ndim > 1)
