"""The `model` section of a stage's configuration for Megatron-Bridge: sizes, layout and precision, as plain data.

Names are those of Bridge's GPTModelProvider, which is Core's TransformerConfig, and of MLAModelProvider for Moonlight.
Of rotary positions it has the base alone, for the shape of Core's table: the frequencies are set on the built model
from `contract.rope`, because Core knows neither interpolation nor another original length than 8,192.
"""

from __future__ import annotations

from typing import Any, assert_never

from stages.engines.nemo.config.layers import LAYERS, MLA
from stages.engines.nemo.config.machine import MACHINE
from stages.spec.families.llama import LlamaModel
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.families.ouro import OuroModel
from stages.spec.resolved import Stage
from stages.spec.resolved_models import LANGUAGE_MODELS, Rope
from stages.spec.resolved_parallel import Parallel, Recompute, computes_in_bf16
from stages.spec.resolved_phases import Phase

Fields = dict[str, Any]
LanguageModel = LlamaModel | OuroModel | MoonlightModel


def language_model(stage: Stage) -> LanguageModel:
    """The one language model of a stage. Raises ValueError where there is none."""
    found = [model for model in stage.modules.values() if model.family in LANGUAGE_MODELS]
    if len(found) != 1 or not isinstance(found[0], (LlamaModel, OuroModel, MoonlightModel)):
        raise ValueError(f"{stage.ref} has {len(found)} language models")
    return found[0]


def model(stage: Stage, phase: Phase, layout: Parallel) -> Fields:
    """What depends on the stage, its phase, or its layout."""
    one = language_model(stage)
    own = _moonlight(one) if isinstance(one, MoonlightModel) else _heads(one)
    fixed = {**LAYERS, **MACHINE, **(MLA if isinstance(one, MoonlightModel) else {})}
    parts = _sizes(one, phase), own, _layout(layout), _vision(stage), _precision(stage), _again(layout)
    return {"rotary_base": _base(stage.rope), **{key: value for part in parts for key, value in part.items()}, **fixed}


def _base(rope: Rope | None) -> float:
    if rope is None:
        raise ValueError("a language model without rotary positions")
    return rope.base


def _sizes(model: LanguageModel, phase: Phase) -> Fields:
    return {
        "num_layers": model.layers,
        "hidden_size": model.hidden,
        "ffn_hidden_size": model.ffn,
        "num_attention_heads": model.heads,
        "vocab_size": model.vocab,
        "seq_length": phase.context,
        "layernorm_epsilon": model.norm_eps,
        "share_embeddings_and_output_weights": model.tied,
        "init_method_std": model.init_std,
        "embedding_init_method_std": model.init_std,
    }


def _heads(model: LlamaModel | OuroModel) -> Fields:
    return {
        "num_query_groups": model.kv_heads,
        "kv_channels": model.head_dim,
        "qk_layernorm": False,
        "multi_latent_attention": False,
        "num_moe_experts": None,
        "moe_ffn_hidden_size": None,
        "moe_shared_expert_intermediate_size": None,
        "moe_layer_freq": 1,
        "moe_router_topk": 2,
        "moe_router_topk_scaling_factor": None,
        "moe_router_enable_expert_bias": False,
        "moe_router_bias_update_rate": 0.0,
        "moe_aux_loss_coeff": 0.0,
    }


def _moonlight(model: MoonlightModel) -> Fields:
    """The router is ours, with its bias and its balance loss: Core's are off. Section `stages` has their numbers."""
    routed = model.layers - model.dense_layers
    return {
        "num_query_groups": model.heads,
        "kv_channels": model.qk_nope_dim + model.qk_rope_dim,
        "multi_latent_attention": True,
        "qk_layernorm": False,  # the norm of the compressed keys and values is ours, with an epsilon of its own
        "q_lora_rank": None,
        "kv_lora_rank": model.kv_lora_rank,
        "qk_head_dim": model.qk_nope_dim,
        "qk_pos_emb_head_dim": model.qk_rope_dim,
        "v_head_dim": model.v_head_dim,
        "num_moe_experts": model.experts,
        "moe_ffn_hidden_size": model.expert_ffn,
        "moe_shared_expert_intermediate_size": model.shared_experts * model.expert_ffn or None,
        "moe_layer_freq": [0] * model.dense_layers + [1] * routed,
        "moe_router_topk": model.active_experts,
        "moe_router_topk_scaling_factor": model.routed_scale,
        "moe_router_enable_expert_bias": False,
        "moe_router_bias_update_rate": 0.0,
        "moe_aux_loss_coeff": 0.0,
    }


def _layout(layout: Parallel) -> Fields:
    interleaved = layout.vpp if layout.vpp > 1 else None
    return {
        "tensor_model_parallel_size": layout.tp,
        "pipeline_model_parallel_size": layout.pp,
        "virtual_pipeline_model_parallel_size": interleaved,
        "microbatch_group_size_per_vp_stage": layout.pp,
        "context_parallel_size": layout.cp,
        "expert_model_parallel_size": layout.ep,
        "expert_tensor_parallel_size": 1,
        "sequence_parallel": layout.sequence_parallel,
    }


def _vision(stage: Stage) -> Fields:
    """With a vision tower, embeddings are divided over the ranks once images' features are among them."""
    return {"scatter_embedding_sequence_parallel": not any(one.family == "moonvit" for one in stage.modules.values())}


def _precision(stage: Stage) -> Fields:
    bf16, gpu = computes_in_bf16(stage.engine_class), stage.execution.device == "cuda"
    width = "bfloat16" if bf16 else "float32"
    return {
        "bf16": bf16,
        "fp16": False,
        "params_dtype": width,
        "pipeline_dtype": width,
        "autocast_dtype": width,
        "enable_autocast": False,
        "disable_bf16_reduced_precision_matmul": bf16 and stage.execution.exact,
        "deterministic_mode": gpu and stage.execution.exact,
        "use_cpu_initialization": not gpu,
    }


def _again(layout: Parallel) -> Fields:
    """What the backward pass computes a second time."""
    full = layout.layers_again
    return {
        "recompute_granularity": _granularity(layout.recompute),
        "recompute_method": "uniform" if full else None,
        "recompute_num_layers": 1 if full else None,
        "recompute_modules": ["core_attn"] if layout.recompute == "selective" else [],
        "distribute_saved_activations": False,
    }


def _granularity(recompute: Recompute) -> str | None:
    match recompute:
        case "none":
            return None
        case "selective" | "full":
            return recompute
        case _:
            assert_never(recompute)
