"""Configuration of Ouro (LoopLM, arXiv 2510.25741), with the fields of the published one."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig


class OuroConfig(PretrainedConfig):
    """Sizes, rotary positions, and how often the layers are run (`total_ut_steps`)."""

    model_type = "ouro"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012  (transformers' own type)

    def __init__(
        self,
        vocab_size: int = 49_152,
        hidden_size: int = 2048,
        intermediate_size: int = 5632,
        num_hidden_layers: int = 24,
        num_attention_heads: int = 16,
        num_key_value_heads: int = 16,
        head_dim: int | None = None,
        hidden_act: str = "silu",
        max_position_embeddings: int = 65_536,
        initializer_range: float = 0.02,
        rms_norm_eps: float = 1e-6,
        use_cache: bool = True,
        tie_word_embeddings: bool = False,
        rope_theta: float = 1_000_000.0,
        rope_scaling: dict[str, Any] | None = None,
        rope_parameters: dict[str, Any] | None = None,
        total_ut_steps: int = 4,
        early_exit_threshold: float = 1.0,
        **kwargs: Any,
    ) -> None:
        self.vocab_size, self.hidden_size, self.intermediate_size = vocab_size, hidden_size, intermediate_size
        self.num_hidden_layers, self.num_attention_heads = num_hidden_layers, num_attention_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim or hidden_size // num_attention_heads
        self.hidden_act, self.max_position_embeddings = hidden_act, max_position_embeddings
        self.initializer_range, self.rms_norm_eps, self.use_cache = initializer_range, rms_norm_eps, use_cache
        given = rope_parameters or rope_scaling
        self.rope_theta = (rope_parameters or {}).get("rope_theta", rope_theta)
        self.rope_scaling = given  # transformers 5 takes it for its rope_parameters
        self.total_ut_steps, self.early_exit_threshold = total_ut_steps, early_exit_threshold
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)
