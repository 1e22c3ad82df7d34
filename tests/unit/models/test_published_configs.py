"""config.json files as they were published, at their own sizes, agree with what a spec of the same model says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stages.errors import UserError
from stages.models import release_config
from stages.spec.families import FAMILIES
from stages.spec.resolved_models import Llama3Scaling, Rope, Yarn
from tests.unit.models.release_folders import importing

RUN = {"torch_dtype": "bfloat16", "transformers_version": "4.43.0.dev0", "use_cache": True, "initializer_range": 0.02}
COMMON = {**RUN, "attention_dropout": 0.0, "hidden_act": "silu", "rope_scaling": None, "tie_word_embeddings": False}


def sizes(hidden: int, ffn: int, layers: int, heads: int, kv_heads: int, vocab: int, context: int) -> dict[str, Any]:
    return {
        "hidden_size": hidden, "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "vocab_size": vocab, "max_position_embeddings": context,
    }  # fmt: skip


def plain(base: float) -> Rope:
    return Rope(base=base, llama3=None, interpolation=1.0)


LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
          "rope_type": "llama3"}  # fmt: skip
QWEN2 = {**COMMON, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "bos_token_id": 151643,
         "eos_token_id": 151643, "rms_norm_eps": 1e-06, "rope_theta": 1e6, "use_mrope": False,
         "use_sliding_window": False}  # fmt: skip
QWEN3 = {**COMMON, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "attention_bias": False,
         "head_dim": 128, "rms_norm_eps": 1e-06, "rope_theta": 1_000_000, "sliding_window": None,
         "use_sliding_window": False, "eos_token_id": 151645}  # fmt: skip
MOON = {
    **COMMON, **sizes(2048, 11264, 27, 16, 16, 163_840, 8192), "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3", "attention_bias": False, "aux_loss_alpha": 0.001, "ep_size": 1,
    "first_k_dense_replace": 1, "kv_lora_rank": 512, "moe_intermediate_size": 1408, "moe_layer_freq": 1, "n_group": 1,
    "n_routed_experts": 64, "n_shared_experts": 2, "norm_topk_prob": True, "num_experts_per_tok": 6,
    "num_nextn_predict_layers": 0, "pretraining_tp": 1, "q_lora_rank": None, "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64, "rms_norm_eps": 1e-05, "rope_theta": 50_000.0, "routed_scaling_factor": 2.446,
    "scoring_func": "sigmoid", "seq_aux": True, "topk_group": 1, "topk_method": "noaux_tc", "v_head_dim": 128,
}  # fmt: skip
FP8 = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]}
PUBLISHED: dict[str, dict[str, Any]] = {
    "Llama 3.1 8B Instruct": {
        **COMMON, **sizes(4096, 14336, 32, 32, 8, 128_256, 131_072), "architectures": ["LlamaForCausalLM"],
        "model_type": "llama", "attention_bias": False, "mlp_bias": False, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
        "rope_scaling": LLAMA3, "rope_theta": 500_000.0, "eos_token_id": [128_001, 128_008, 128_009]},
    "Qwen 2.5 7B": {**QWEN2, **sizes(3584, 18944, 28, 28, 4, 152_064, 131_072), "max_window_layers": 28,
                    "sliding_window": 131_072},
    "Qwen 3 8B": {**QWEN3, **sizes(4096, 12288, 36, 32, 8, 151_936, 40_960), "max_window_layers": 36},
    "Qwen 3 30B A3B": {
        **QWEN3, **sizes(2048, 6144, 48, 32, 4, 151_936, 40_960), "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe", "decoder_sparse_step": 1, "mlp_only_layers": [], "moe_intermediate_size": 768,
        "norm_topk_prob": True, "num_experts": 128, "num_experts_per_tok": 8, "output_router_logits": False,
        "router_aux_loss_coef": 0.001},
    "Mistral 7B v0.1": {
        **COMMON, **sizes(4096, 14336, 32, 32, 8, 32_000, 32_768), "architectures": ["MistralForCausalLM"],
        "model_type": "mistral", "rms_norm_eps": 1e-05, "rope_theta": 10_000.0, "sliding_window": 4096},
    "Gemma 2 9B": {
        **RUN, **sizes(3584, 14336, 42, 16, 8, 256_000, 8192), "architectures": ["Gemma2ForCausalLM"],
        "model_type": "gemma2", "attention_bias": False, "attention_dropout": 0.0, "attn_logit_softcapping": 50.0,
        "cache_implementation": "hybrid", "final_logit_softcapping": 30.0, "head_dim": 256,
        "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "pad_token_id": 0,
        "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06, "rope_theta": 10_000.0, "sliding_window": 4096,
        "sliding_window_size": 4096},
    "Gemma 3 1B": {
        **RUN, **sizes(1152, 6912, 26, 4, 1, 262_144, 32_768), "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text", "attention_bias": False, "attention_dropout": 0.0, "attn_logit_softcapping": None,
        "cache_implementation": "hybrid", "eos_token_id": [1, 106], "final_logit_softcapping": None, "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh", "pad_token_id": 0, "query_pre_attn_scalar": 256,
        "rms_norm_eps": 1e-06, "rope_local_base_freq": 10_000, "rope_scaling": None, "rope_theta": 1_000_000,
        "sliding_window": 512, "sliding_window_pattern": 6},
    "OLMo 2 7B": {
        **COMMON, **sizes(4096, 11008, 32, 32, 32, 100_352, 4096), "architectures": ["Olmo2ForCausalLM"],
        "model_type": "olmo2", "attention_bias": False, "pad_token_id": 100_277, "rms_norm_eps": 1e-06,
        "rope_theta": 500_000},
    "OLMo 3 7B": {
        **COMMON, **sizes(4096, 11008, 32, 32, 32, 100_278, 65_536), "architectures": ["Olmo3ForCausalLM"],
        "model_type": "olmo3", "attention_bias": False, "pad_token_id": 100_277, "rms_norm_eps": 1e-06,
        "layer_types": (["sliding_attention"] * 3 + ["full_attention"]) * 8, "rope_theta": 500_000,
        "rope_scaling": {"attention_factor": 1.2079441541679836, "beta_fast": 32.0, "beta_slow": 1.0, "factor": 8.0,
                         "original_max_position_embeddings": 8192, "rope_type": "yarn"}, "sliding_window": 4096},
    "Moonlight 16B A3B": MOON,
}  # fmt: skip


# What a spec of the same model says.
MODELS: dict[str, Any] = {
    "Llama 3.1 8B Instruct": {
        "family": "llama", "layers": 32, "hidden": 4096, "ffn": 14336, "heads": 32, "kv_heads": 8, "head_dim": 128,
        "vocab": 128_256, "norm_eps": 1e-5},
    "Qwen 2.5 7B": {
        "family": "qwen2", "layers": 28, "hidden": 3584, "ffn": 18944, "heads": 28, "kv_heads": 4, "vocab": 152_064,
        "norm_eps": 1e-6},
    "Qwen 3 8B": {
        "family": "qwen3", "layers": 36, "hidden": 4096, "ffn": 12288, "heads": 32, "kv_heads": 8, "head_dim": 128,
        "vocab": 151_936, "norm_eps": 1e-6},
    "Qwen 3 30B A3B": {
        "family": "qwen3_moe", "layers": 48, "hidden": 2048, "ffn": 6144, "heads": 32, "kv_heads": 4, "head_dim": 128,
        "experts": 128, "active_experts": 8, "expert_ffn": 768, "vocab": 151_936, "norm_eps": 1e-6},
    "Mistral 7B v0.1": {
        "family": "mistral", "layers": 32, "hidden": 4096, "ffn": 14336, "heads": 32, "kv_heads": 8, "head_dim": 128,
        "window": 4096, "vocab": 32_000, "norm_eps": 1e-5},
    "Gemma 2 9B": {
        "family": "gemma2", "layers": 42, "hidden": 3584, "ffn": 14336, "heads": 16, "kv_heads": 8, "head_dim": 256,
        "query_scalar": 256, "window": 4096, "full_every": 2, "score_softcap": 50.0, "logit_softcap": 30.0,
        "vocab": 256_000, "norm_eps": 1e-6, "tied": True},
    "Gemma 3 1B": {
        "family": "gemma3", "layers": 26, "hidden": 1152, "ffn": 6912, "heads": 4, "kv_heads": 1, "head_dim": 256,
        "query_scalar": 256, "window": 512, "full_every": 6, "local_rope_base": 10_000.0, "vocab": 262_144,
        "norm_eps": 1e-6, "tied": True},
    "OLMo 2 7B": {
        "family": "olmo2", "layers": 32, "hidden": 4096, "ffn": 11008, "heads": 32, "kv_heads": 32, "vocab": 100_352,
        "norm_eps": 1e-6},
    "OLMo 3 7B": {
        "family": "olmo3", "layers": 32, "hidden": 4096, "ffn": 11008, "heads": 32, "kv_heads": 32, "window": 4096,
        "full_every": 4, "vocab": 100_278, "norm_eps": 1e-6},
    "Moonlight 16B A3B": {
        "family": "moonlight", "layers": 27, "dense_layers": 1, "hidden": 2048, "ffn": 11264, "heads": 16,
        "vocab": 163_840, "kv_lora_rank": 512, "qk_nope_dim": 128, "qk_rope_dim": 64, "v_head_dim": 128, "experts": 64,
        "active_experts": 6, "shared_experts": 2, "expert_ffn": 1408, "routed_scale": 2.446, "norm_eps": 1e-5},
}  # fmt: skip
ROPES: dict[str, tuple[Rope, int]] = {
    "Llama 3.1 8B Instruct": (
        Rope(base=500_000.0, llama3=Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=8192), interpolation=1.0),
        131_072),
    "Qwen 2.5 7B": (plain(1e6), 131_072),
    "Qwen 3 8B": (plain(1e6), 40_960),
    "Qwen 3 30B A3B": (plain(1e6), 40_960),
    "Mistral 7B v0.1": (plain(1e4), 32_768),
    "Gemma 2 9B": (plain(1e4), 8192),
    "Gemma 3 1B": (plain(1e6), 32_768),
    "OLMo 2 7B": (plain(5e5), 4096),
    "OLMo 3 7B": (
        plain(5e5).model_copy(update={"yarn": Yarn(
            factor=8.0, original=8192, beta_fast=32.0, beta_slow=1.0, truncate=True,
            attention_factor=1.2079441541679836, mscale=None, mscale_all_dim=None)}), 65_536),
    "Moonlight 16B A3B": (plain(5e4), 8192),
}  # fmt: skip


def compared(folder: Path, config: dict[str, Any], name: str) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    says = {"tied": False, "init_std": 0.02, **MODELS[name]}
    rope, context = ROPES[name]
    stage = importing(FAMILIES[says["family"]].model_validate(says), rope)
    release_config.check(stage.model_copy(update={"max_context": context}), "llm", folder, None)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_configuration_is_that_of_its_spec(tmp_path: Path, name: str) -> None:
    compared(tmp_path, PUBLISHED[name], name)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "DeepSeek V3": ("Moonlight 16B A3B", {"n_group": 8, "topk_group": 4, "q_lora_rank": 1536},
                    r"n_group: found 8; allowed: 1, "),
    "weights in fp8": ("Qwen 3 8B", {"quantization_config": FP8}, "quantised weights are not trained"),
    "Qwen 2.5 1M": ("Qwen 2.5 7B", {"dual_chunk_attention_config": {"chunk_size": 262_144}},
                    r"dual_chunk_attention_config: found .*fields that are known"),
    "code beside it": ("Moonlight 16B A3B", {"auto_map": {"AutoModel": "modeling_deepseek.DeepseekV3Model"}},
                       r"auto_map: found .*code of a release is never run; .* remove `auto_map` from config\.json"),
    "another kind": ("Llama 3.1 8B Instruct", {"model_type": "phi3"}, r"model_type: found 'phi3'; allowed: 'llama'"),
    "another base": ("Qwen 3 8B", {"rope_theta": 10_000}, r"rope_theta: found 10000; allowed: 1000000\.0"),
    "scaled positions": ("Qwen 3 8B", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
                         r"rope_scaling\.rope_type: found 'yarn'; allowed: 'default'"),
    "positions that are not scaled": ("Llama 3.1 8B Instruct", {"rope_scaling": None}, r"rope_scaling: found None; al"),
    "another eps": ("Llama 3.1 8B Instruct", {"rms_norm_eps": 1e-6}, r"rms_norm_eps: found 1e-06; allowed: 1e-05"),
    "another table of words": ("Qwen 3 8B", {"tie_word_embeddings": True}, r"tie_word_embeddings: found True; allow"),
    "another width of heads": ("Qwen 3 8B", {"head_dim": 64}, r"head_dim: found 64; allowed: 128"),
    "a window": ("Mistral 7B v0.1", {"sliding_window": None}, r"sliding_window: found None; allowed: 4096"),
    "biases": ("Llama 3.1 8B Instruct", {"attention_bias": True}, r"attention_bias: found True; allowed: False"),
    "norms of queries and keys": ("Llama 3.1 8B Instruct", {"use_qk_norm": True}, r"use_qk_norm: found True; allow"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_published_configuration_that_is_another_model_is_refused_with_both_values(tmp_path: Path, name: str) -> None:
    model, change, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        compared(tmp_path, PUBLISHED[model] | change, model)
