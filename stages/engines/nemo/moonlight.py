"""Moonlight (DeepSeek-V3's architecture) on Megatron-Core: latent attention, dense first layers, then experts.

Core's are the latent attention's projections and their parallel forms, the dense and shared feed-forward networks, the
dispatch of tokens to experts, embedding, head and loss. Ours are norms, router, the experts' products, attention within
documents and rotary angles.

Of Core's latent attention for machines without TransformerEngine two parts are replaced. Its latent's norm takes the
model's epsilon, where the released code has the class's own. Its down projection is divided over the tensor-parallel
ranks, and the rotary key that all heads share then gets the gradient of one rank's heads only (seen at Core 0.19.2).
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from megatron.core.fusions.fused_bias_dropout import get_bias_dropout_add
from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.mlp import MLP, MLPSubmodules
from megatron.core.transformer.moe.moe_layer import MoELayer, MoESubmodules
from megatron.core.transformer.moe.shared_experts import SharedExpertMLP
from megatron.core.transformer.multi_latent_attention import MLASelfAttention, MLASelfAttentionSubmodules
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_layer import (
    TransformerLayer,
    TransformerLayerSubmodules,
    get_transformer_layer_offset,
)
from torch import Tensor, nn

from stages.engines.nemo.attention import DocumentAttention
from stages.engines.nemo.context import own
from stages.engines.nemo.experts import LocalExperts
from stages.engines.nemo.norm import Norm
from stages.engines.nemo.rotary import Rotary
from stages.engines.nemo.router import Router
from stages.errors import UserError
from stages.models.transfer import to_device
from stages.spec.families.moonlight import LATENT_NORM_EPS, MoonlightModel
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Rope


class Replicated(nn.Module):
    """A linear layer that every tensor-parallel rank has whole, for its own share of the positions."""

    def __init__(self, features: int, out: int, config: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out, features, dtype=config.params_dtype))
        self.weight.sequence_parallel = config.sequence_parallel

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Shape [S, B, features] -> [S, B, out], and no bias."""
        return nn.functional.linear(x, self.weight), None


class SegmentRotary(Rotary):
    """`Rotary` that takes the positions from the documents' segments."""

    def turn(self, segments: Tensor, context_parallel: Any, device: torch.device) -> None:
        """Remember the positions of this rank's share of rows with segments int32 [B, T]."""
        positions = within_documents(segments.numpy().tobytes(), tuple(segments.shape))
        here = own(positions, context_parallel.rank(), context_parallel.size())
        self._positions = to_device(here.contiguous(), device)


@lru_cache(maxsize=16)
def within_documents(segments: bytes, shape: tuple[int, ...]) -> Tensor:
    """Positions int64 [B, T], each document's from 0, of rows with int32 segments: once for all layers of a batch."""
    rows = np.frombuffer(segments, dtype=np.int32).reshape(shape)
    places = np.broadcast_to(np.arange(shape[1]), shape)
    begins = np.ones(shape, dtype=bool)
    begins[:, 1:] = rows[:, 1:] != rows[:, :-1]
    return torch.from_numpy(places - np.maximum.accumulate(np.where(begins, places, 0), axis=1))


class LatentAttention(MLASelfAttention):
    """Core's latent attention with our norm, down projection and rotary angles."""

    def __init__(self, *args: Any, rope: Rope, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        config = self.config
        narrow = config.kv_lora_rank + config.qk_pos_emb_head_dim
        self.linear_kv_down_proj = Replicated(config.hidden_size, narrow, config)
        self.kv_layernorm = Norm(config, config.kv_lora_rank, LATENT_NORM_EPS)
        self.rotary_pos_emb = SegmentRotary(rope, config.qk_pos_emb_head_dim)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor, **kwargs: Any) -> tuple[Tensor, None]:
        """Shape [S, B, H] -> [S, B, H]; segments int32 [B, T] of whole rows in the place of the mask, on the host.

        The angles come from what this call is given: a layer that is computed again in the backward pass, when other
        micro-batches have come since, turns as it did.
        """
        self.rotary_pos_emb.turn(attention_mask, self.pg_collection.cp, hidden_states.device)
        found: tuple[Tensor, None] = super().forward(hidden_states, attention_mask, **kwargs)
        return found


def complete(stage: Stage, cfg: MoonlightModel, provider: Any) -> None:
    """Give Bridge's provider its layers, and the model that it builds the rotary positions that are read back.

    Raises UserError for a model without shared experts, for which Core has no module to fill.
    """
    if not cfg.shared_experts:
        raise UserError(
            f"{stage.ref}: shared_experts: found 0; the nemo engine wants 1 or more. "
            "Train this stage with `engine: torch`."
        )
    if stage.rope is None:
        raise ValueError(f"{stage.ref} has a Moonlight without rotary positions")

    def show(chunks: list[Any]) -> list[Any]:
        for chunk in chunks:
            chunk.rotary_pos_emb = chunk.decoder.layers[0].self_attention.rotary_pos_emb
        return chunks

    provider.transformer_layer_spec = partial(block, cfg, stage.rope)
    provider.register_pre_wrap_hook(show)


def block(cfg: MoonlightModel, rope: Rope, config: Any, vp_stage: int | None = None) -> TransformerBlockSubmodules:
    """The layers of one chunk of the model."""
    first = get_transformer_layer_offset(config, vp_stage)
    layers = range(first, first + get_num_layers_to_build(config, vp_stage))
    return TransformerBlockSubmodules(layer_specs=[_layer(cfg, rope, layer) for layer in layers], layer_norm=Norm)


def _layer(cfg: MoonlightModel, rope: Rope, layer: int) -> ModuleSpec:
    return ModuleSpec(
        module=TransformerLayer,
        submodules=TransformerLayerSubmodules(
            input_layernorm=Norm,
            self_attention=ModuleSpec(
                module=LatentAttention,
                params={"attn_mask_type": AttnMaskType.causal, "rope": rope},
                submodules=MLASelfAttentionSubmodules(
                    linear_proj=RowParallelLinear,
                    q_layernorm=IdentityOp,
                    kv_layernorm=IdentityOp,
                    linear_q_proj=ColumnParallelLinear,
                    linear_kv_down_proj=ColumnParallelLinear,
                    linear_kv_up_proj=ColumnParallelLinear,
                    core_attention=DocumentAttention,
                ),
            ),
            self_attn_bda=get_bias_dropout_add,
            pre_mlp_layernorm=Norm,
            mlp=_dense() if layer < cfg.dense_layers else _experts(cfg),
            mlp_bda=get_bias_dropout_add,
        ),
    )


def _wide() -> MLPSubmodules:
    return MLPSubmodules(linear_fc1=ColumnParallelLinear, linear_fc2=RowParallelLinear)


def _dense() -> Any:
    return partial(MLP.as_mlp_submodule, submodules=_wide())


def _experts(cfg: MoonlightModel) -> Any:
    return partial(
        MoELayer,
        submodules=MoESubmodules(
            experts=partial(LocalExperts, cfg),
            shared_experts=partial(SharedExpertMLP, submodules=_wide()),
            router=partial(Router, cfg),
        ),
    )
