"""Ouro on Megatron-Core: one stack run several times, with an exit gate and a loss after every run.

A layer is Core's, with its attention and feed-forward network from Core's parallel linear layers; the norms behind both
sit where Core adds the residual. Embedding, head and cross entropy are Core's. Loops, gate and the sum over loops are
ours, by the formulas of `stages.models.looped` and `stages.train.objectives.looped`.

A run of the stack begins where the one before ended, so the layers cannot lie on several pipeline ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core.models.gpt import GPTModel
from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear, gather_from_sequence_parallel_region
from megatron.core.transformer.attention import SelfAttention, SelfAttentionSubmodules
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.mlp import MLP, MLPSubmodules
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules
from megatron.core.transformer.transformer_layer import TransformerLayer, TransformerLayerSubmodules
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from stages.engines.nemo.attention import DocumentAttention
from stages.engines.nemo.causal import Head
from stages.engines.nemo.norm import Norm
from stages.engines.nemo.rotary import angles, place
from stages.errors import UserError
from stages.spec.families.ouro import OuroModel
from stages.spec.resolved import Stage
from stages.train.objectives.looped import exits


class NormedResidual(nn.Module):
    """residual + norm(x), in the place of Core's bias-dropout-add: Ouro has neither bias nor dropout."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.norm = Norm(config, config.hidden_size, config.layernorm_epsilon)

    def forward(self, training: bool, fused: bool) -> Callable[..., Tensor]:
        """What Core calls with (x, bias), the residual and the dropout's probability: [S, B, H] -> [S, B, H].

        Core calls it with gradients enabled in evaluations too: the norm's gain would keep what every layer puts out.
        """
        return self._add if training else torch.no_grad()(self._add)

    def _add(self, x: tuple[Tensor, Tensor | None], residual: Tensor, dropout: float) -> Tensor:
        output, bias = x
        if bias is not None or dropout:
            raise ValueError(f"a bias, or dropout of {dropout}, behind a layer of Ouro")
        return residual + self.norm(output)


class ExitGate(nn.Module):
    """One logit a position; every tensor-parallel rank has all of it."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, config.hidden_size, dtype=config.params_dtype))
        self.bias = nn.Parameter(torch.zeros(1, dtype=config.params_dtype))
        for parameter in (self.weight, self.bias):  # under sequence parallel each rank sees a share of the positions
            parameter.sequence_parallel = config.sequence_parallel

    def forward(self, x: Tensor) -> Tensor:
        """Shape [S, B, H] -> [S, B]."""
        return F.linear(x, self.weight, self.bias).squeeze(-1)


def layers(config: Any) -> TransformerBlockSubmodules:
    """The layers of the stack, and the norm that ends each of its runs."""
    attention = SelfAttentionSubmodules(
        linear_qkv=ColumnParallelLinear, core_attention=DocumentAttention, linear_proj=RowParallelLinear
    )
    mlp = MLPSubmodules(linear_fc1=ColumnParallelLinear, linear_fc2=RowParallelLinear)
    behind = ModuleSpec(module=NormedResidual, params={"config": config})
    layer = TransformerLayerSubmodules(
        input_layernorm=Norm,
        self_attention=ModuleSpec(
            module=SelfAttention, params={"attn_mask_type": AttnMaskType.causal}, submodules=attention
        ),
        self_attn_bda=behind,
        pre_mlp_layernorm=Norm,
        mlp=partial(MLP.as_mlp_submodule, submodules=mlp),
        mlp_bda=behind,
    )
    spec = ModuleSpec(module=TransformerLayer, submodules=layer)
    return TransformerBlockSubmodules(layer_specs=[spec] * config.num_layers, layer_norm=Norm)


class LoopedModel(GPTModel):
    """Core's model with the stack run several times. Raises UserError on more than one pipeline rank."""

    def __init__(self, *args: Any, config: Any, **kwargs: Any) -> None:
        if config.pipeline_model_parallel_size > 1:
            raise UserError(
                f"pp: {config.pipeline_model_parallel_size}: Ouro's layers run in loops. Each begins where the one "
                "before ended, so they cannot be divided over pipeline ranks. Use pp: 1, and tp or cp instead."
            )
        super().__init__(*args, config=config, **kwargs)
        self.early_exit_gate = ExitGate(config)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        segments: Tensor,
        labels: Tensor,
        loops: int,
        head: Head | None = None,
    ) -> Any:
        """Losses in nats and the gate's logits of every position after each loop, both fp32 [loops, B, T].

        tokens, positions and labels int64 [B, T] are this rank's (no label is negative), segments those of whole rows.
        With a head: what it makes of the states after each loop, [loops, ...].
        """
        x = self.embedding(input_ids=tokens, position_ids=positions)
        turned = angles(positions, self.rotary_pos_emb.inv_freq)
        losses, gates = [], []
        for _ in range(loops):
            x = self.decoder(hidden_states=x, attention_mask=segments, rotary_pos_emb=turned)
            if head is not None:
                losses.append(head(x, self._matrix()))
                continue
            losses.append(checkpoint(self._losses, x, labels, use_reentrant=False, preserve_rng_state=False))
            gates.append(self._gate(x).T.float())
        return torch.stack(losses) if head is not None else (torch.stack(losses), torch.stack(gates))

    def _matrix(self) -> Tensor:
        """This rank's part of the output matrix."""
        tied = self.share_embeddings_and_output_weights
        matrix: Tensor = self.shared_embedding_or_output_weight() if tied else self.output_layer.weight
        return matrix

    def _losses(self, x: Tensor, labels: Tensor) -> Tensor:
        """Losses [B, T]. Computed again in the backward pass: one loop's logits are there at a time."""
        logits, _ = self.output_layer(x, weight=self._matrix())
        return self.compute_language_model_loss(labels, logits)

    def _gate(self, x: Tensor) -> Tensor:
        logits = self.early_exit_gate(x)
        if not self.config.sequence_parallel:
            return logits
        return gather_from_sequence_parallel_region(
            logits, tensor_parallel_output_grad=False, group=self.pg_collection.tp
        )


def build(cfg: OuroModel, config: Any, context: int, **kwargs: Any) -> LoopedModel:
    """The model for Core's configuration, with undefined weights and frequencies. Raises UserError as `LoopedModel`."""
    return LoopedModel(
        config=config,
        transformer_layer_spec=layers(config),
        vocab_size=cfg.vocab,
        max_sequence_length=context,
        share_embeddings_and_output_weights=cfg.tied,
        position_embedding_type="rope",
        **kwargs,
    )


def complete(stage: Stage, cfg: OuroModel, provider: Any) -> None:
    """Have Bridge's provider build this model, with the stage's rotary frequencies."""
    rope = stage.rope
    if rope is None:
        raise ValueError(f"{stage.ref} has an Ouro without rotary positions")

    def provide(**ends: bool) -> LoopedModel:
        model = build(cfg, provider, provider.seq_length, pg_collection=provider._pg_collection, **ends)
        place(model, rope, cfg.head_dim)
        return model

    provider.provide = provide


def looped_loss(losses: Tensor, gates: Tensor, weights: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Sum of the positions' losses, from each loop's losses and gates [loops, B, T], and of the columns [2 + loops].

    `weights` fp32 [B, T] is 1 where a target is supervised, else 0. The columns are those of `Looped.columns`: entropy
    in nats, loop of leaving, and the loss after each loop.
    """
    here = weights.flatten()
    losses = losses.flatten(1) * here
    p, entropy = exits(gates.flatten(1))
    left = (entropy * here).sum()
    numbers = torch.arange(1, len(p) + 1, dtype=p.dtype, device=p.device)
    columns = torch.stack([left, (numbers[:, None] * p * here).sum(), *losses.sum(1)]).detach()
    return (p * losses).sum() - beta * left, columns
