"""Moonlight and Kimi-VL in Megatron-Core's GPTModel with the layers of `moonlight.block`: attention, router, experts.

A router's bias is no parameter, but a buffer: it has a rule as parameters have, and goes where they go.
"""

from __future__ import annotations

from stages.engines.nemo.layout import LAYER, Below, Rule
from stages.models.build import make
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.resolved_models import MoonViTModel, ProjectorModel

BIAS = "e_score_correction_bias"


def rules(cfg: MoonlightModel, module: str) -> list[Rule]:
    """The rules of a Moonlight called `module`."""
    theirs, ours = f"decoder.layers.{LAYER}", f"{module}.model.layers.{LAYER}"
    embedding = f"{module}.model.embed_tokens.weight"
    found = [
        Rule("embedding.word_embeddings.weight", (embedding,), cut=0),
        Rule(f"{theirs}.input_layernorm.weight", (f"{ours}.input_layernorm.weight",)),
        *_attention(f"{theirs}.self_attention", f"{ours}.self_attn"),
        Rule(f"{theirs}.pre_mlp_layernorm.weight", (f"{ours}.post_attention_layernorm.weight",)),
        *_feed_forward(f"{theirs}.mlp", f"{ours}.mlp"),
        *_experts(f"{theirs}.mlp", f"{ours}.mlp"),
        Rule("decoder.final_layernorm.weight", (f"{module}.model.norm.weight",)),
    ]
    # With tied embeddings the last pipeline stage has a copy of them under this name.
    head = embedding if cfg.tied else f"{module}.lm_head.weight"
    return [*found, Rule("output_layer.weight", (head,), cut=0)]


def kimi_vl(llm: MoonlightModel, vit: MoonViTModel, projector: ProjectorModel) -> list[Rule]:
    """The rules of the modules llm, vit and projector: the last two are the torch engine's own."""
    return [
        *rules(llm, "llm"),
        *(
            Rule(f"vision.{module}.{name}", (f"{module}.{name}",))
            for module, cfg in (("vit", vit), ("projector", projector))
            for name in make(cfg, None, "meta").state_dict()
        ),
    ]


def _attention(theirs: str, ours: str) -> list[Rule]:
    return [
        Rule(f"{theirs}.linear_q_proj.weight", (f"{ours}.q_proj.weight",), cut=0),
        Rule(f"{theirs}.linear_kv_down_proj.weight", (f"{ours}.kv_a_proj_with_mqa.weight",)),
        Rule(f"{theirs}.kv_layernorm.weight", (f"{ours}.kv_a_layernorm.weight",)),
        Rule(f"{theirs}.linear_kv_up_proj.weight", (f"{ours}.kv_b_proj.weight",), cut=0),
        Rule(f"{theirs}.linear_proj.weight", (f"{ours}.o_proj.weight",), cut=1),
    ]


def _feed_forward(theirs: str, ours: str) -> list[Rule]:
    gate_up = (f"{ours}.gate_proj.weight", f"{ours}.up_proj.weight")
    return [
        Rule(f"{theirs}.linear_fc1.weight", gate_up, 0, Below(2)),
        Rule(f"{theirs}.linear_fc2.weight", (f"{ours}.down_proj.weight",), cut=1),
    ]


def _experts(theirs: str, ours: str) -> list[Rule]:
    return [
        Rule(f"{theirs}.router.weight", (f"{ours}.gate.weight",)),
        Rule(f"{theirs}.router.{BIAS}", (f"{ours}.gate.{BIAS}",)),
        *(
            Rule(f"{theirs}.experts.{matrix}", (f"{ours}.experts.{matrix}",), cut=0, by="expert")
            for matrix in ("gate_proj", "up_proj", "down_proj")
        ),
        *_feed_forward(f"{theirs}.shared_experts", f"{ours}.shared_experts"),
    ]
