"""Llama by Megatron-Core's GPTModel: our attention, our norms, our rotary positions, Core's everything else."""

from __future__ import annotations

from typing import Any

from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build

from stages.engines.nemo.attention import DocumentAttention
from stages.engines.nemo.norm import Norm
from stages.engines.nemo.rotary import place
from stages.spec.families.llama import LlamaModel
from stages.spec.resolved import Stage


def complete(stage: Stage, cfg: LlamaModel, provider: Any) -> None:
    """Give Bridge's provider its layers, and have it place our rotary positions in what it builds."""
    rope = stage.rope
    if rope is None:
        raise ValueError(f"{stage.ref} has a Llama without rotary positions")

    def turn(chunks: list[Any]) -> list[Any]:
        for chunk in chunks:
            place(chunk, rope, cfg.head_dim)
        return chunks

    provider.transformer_layer_spec = layers
    provider.register_pre_wrap_hook(turn)


def layers(config: Any, vp_stage: int | None = None) -> TransformerBlockSubmodules:
    """The layers of one chunk. As a whole block: in a single layer Bridge would put Core's own attention."""
    layer = get_gpt_layer_local_spec(normalization="RMSNorm")
    layer.submodules.input_layernorm = layer.submodules.pre_mlp_layernorm = Norm
    layer.submodules.self_attention.submodules.core_attention = DocumentAttention
    return TransformerBlockSubmodules([layer] * get_num_layers_to_build(config, vp_stage=vp_stage), Norm)
