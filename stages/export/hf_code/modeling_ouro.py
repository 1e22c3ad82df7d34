"""Ouro (LoopLM, arXiv 2510.25741): one stack of layers run `total_ut_steps` times, under the published names.

All loops are run: `early_exit_threshold` below 1, which would stop at some tokens' exit gate, is refused.
"""

from __future__ import annotations

from typing import Any

import transformers
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_ouro import OuroConfig
from .stages_blocks import RMSNorm, SwiGLU, attend, cache, factors, frequencies, loss, places, rotate, tables


class OuroAttention(nn.Module):
    """Grouped-query attention."""

    def __init__(self, config: OuroConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, config.num_attention_heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * config.head_dim, bias=False)
        self.o_proj = nn.Linear(config.num_attention_heads * config.head_dim, config.hidden_size, bias=False)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], seen: Tensor, past: Any, layer: int) -> Tensor:
        """Shape [B, T, H] -> [B, T, H]; `layer` is this layer's place in the cache, another one in every loop."""
        q, k, v = (proj(x).unflatten(-1, (-1, self.head_dim)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        q, k = (rotate(heads, *turns, interleaved=False) for heads in (q, k))
        return self.o_proj(attend(q, k, v, seen, past, layer, self.head_dim**-0.5))


class OuroLayer(nn.Module):
    """x + norm(attention(norm(x))), then x + norm(ffn(norm(x)))."""

    def __init__(self, config: OuroConfig) -> None:
        super().__init__()
        self.self_attn = OuroAttention(config)
        self.mlp = SwiGLU(config.hidden_size, config.intermediate_size)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.input_layernorm_2 = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm_2 = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], seen: Tensor, past: Any, layer: int) -> Tensor:
        """Shape [B, T, H] -> [B, T, H]."""
        x = x + self.input_layernorm_2(self.self_attn(self.input_layernorm(x), turns, seen, past, layer))
        return x + self.post_attention_layernorm_2(self.mlp(self.post_attention_layernorm(x)))


class OuroStack(nn.Module):
    """Embedding, layers, the norm that ends every loop, and the exit gate (trained, not used to leave early)."""

    def __init__(self, config: OuroConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(OuroLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.early_exit_gate = nn.Linear(config.hidden_size, 1)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], seen: Tensor, past: Any, loops: int) -> Tensor:
        """The stream [B, T, H] after so many loops."""
        for loop in range(loops):
            for number, layer in enumerate(self.layers):
                x = layer(x, turns, seen, past, loop * len(self.layers) + number)
            x = self.norm(x)
        return x


class OuroForCausalLM(PreTrainedModel, GenerationMixin):
    """Ouro with a head."""

    config_class = OuroConfig
    base_model_prefix = "model"
    _supports_sdpa = True
    _tied_weights_keys = (
        {"lm_head.weight": "model.embed_tokens.weight"}
        if int(transformers.__version__.partition(".")[0]) >= 5
        else ["lm_head.weight"]
    )

    def __init__(self, config: OuroConfig) -> None:
        super().__init__(config)
        if config.early_exit_threshold < 1:
            raise ValueError(
                f"early_exit_threshold: found {config.early_exit_threshold}; allowed: 1, all loops are run"
            )
        self.turns, (self.factor, _) = frequencies(config, config.head_dim), factors(config)
        self.model = OuroStack(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The table of words."""
        return self.model.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Another table of words."""
        self.model.embed_tokens = value

    def get_output_embeddings(self) -> nn.Module:
        """The head."""
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Another head."""
        self.lm_head = new_embeddings

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits [B, T, V] after the last loop, of the last `logits_to_keep` tokens if that is not 0."""
        x = self.model.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        past = cache(past_key_values, self.config.use_cache if use_cache is None else use_cache)
        before = 0 if past is None else past.get_seq_length()
        positions, seen = places(attention_mask, x.shape[0], x.shape[1], before, x.device)
        turns = tables(positions if position_ids is None else position_ids, self.turns, self.factor)
        x = self.model(x, turns, seen, past, self.config.total_ut_steps)
        logits = self.lm_head(x[:, -logits_to_keep:] if logits_to_keep else x)
        return CausalLMOutputWithPast(loss=loss(logits, labels), logits=logits, past_key_values=past)
