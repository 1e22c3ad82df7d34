"""Llama in Megatron-Core's GPTModel, by Core's or TransformerEngine's names of norms; Ouro in our `LoopedModel`."""

from __future__ import annotations

from stages.engines.nemo.layout import LAYER, Below, QueryGroups, Rule
from stages.spec.families.llama import LlamaModel
from stages.spec.families.ouro import OuroModel


def rules(cfg: LlamaModel | OuroModel, module: str) -> list[Rule]:
    """The rules of a Llama called `module`. The norms have another name where TransformerEngine fuses them."""
    theirs, ours = f"decoder.layers.{LAYER}", f"{module}.model.layers.{LAYER}"
    attention, mlp = f"{ours}.self_attn", f"{ours}.mlp"
    qkv = tuple(f"{attention}.{part}_proj.weight" for part in "qkv")
    before, after = (f"{ours}.input_layernorm.weight",), (f"{ours}.post_attention_layernorm.weight",)
    embedding = f"{module}.model.embed_tokens.weight"
    return [
        Rule("embedding.word_embeddings.weight", (embedding,), cut=0),
        Rule(f"{theirs}.input_layernorm.weight", before),
        Rule(f"{theirs}.self_attention.linear_qkv.layer_norm_weight", before),
        Rule(
            f"{theirs}.self_attention.linear_qkv.weight", qkv, 0, QueryGroups(cfg.heads // cfg.kv_heads, cfg.head_dim)
        ),
        Rule(f"{theirs}.self_attention.linear_proj.weight", (f"{attention}.o_proj.weight",), cut=1),
        Rule(f"{theirs}.pre_mlp_layernorm.weight", after),
        Rule(f"{theirs}.mlp.linear_fc1.layer_norm_weight", after),
        Rule(f"{theirs}.mlp.linear_fc1.weight", (f"{mlp}.gate_proj.weight", f"{mlp}.up_proj.weight"), 0, Below(2)),
        Rule(f"{theirs}.mlp.linear_fc2.weight", (f"{mlp}.down_proj.weight",), cut=1),
        Rule("decoder.final_layernorm.weight", (f"{module}.model.norm.weight",)),
        # With tied embeddings the last pipeline stage has a copy of them under this name.
        Rule("output_layer.weight", (embedding if cfg.tied else f"{module}.lm_head.weight",), cut=0),
    ]


def ouro(cfg: OuroModel, module: str) -> list[Rule]:
    """Llama's rules, the norms behind both sub-layers, where Core adds the residual, and the exit gate."""
    theirs, ours = f"decoder.layers.{LAYER}", f"{module}.model.layers.{LAYER}"
    return [
        *rules(cfg, module),
        Rule(f"{theirs}.self_attn_bda.norm.weight", (f"{ours}.input_layernorm_2.weight",)),
        Rule(f"{theirs}.mlp_bda.norm.weight", (f"{ours}.post_attention_layernorm_2.weight",)),
        Rule("early_exit_gate.weight", (f"{module}.model.early_exit_gate.weight",)),
        Rule("early_exit_gate.bias", (f"{module}.model.early_exit_gate.bias",)),
    ]
