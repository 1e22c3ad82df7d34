"""Configuration of Kimi-VL (arXiv 2504.07491), with the fields of the published one."""

from __future__ import annotations

from typing import Any

from transformers import DeepseekV3Config, PretrainedConfig


class MoonViTConfig(PretrainedConfig):
    """The vision tower. The published one has no field for what is always the same there: the last three."""

    model_type = "moonvit"

    def __init__(
        self,
        patch_size: int = 14,
        init_pos_emb_height: int = 64,
        init_pos_emb_width: int = 64,
        num_attention_heads: int = 16,
        num_hidden_layers: int = 27,
        hidden_size: int = 1152,
        intermediate_size: int = 4304,
        merge_kernel_size: tuple[int, int] | list[int] = (2, 2),
        num_channels: int = 3,
        layer_norm_eps: float = 1e-5,
        rotary_base: float = 10_000.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.patch_size, self.num_channels = patch_size, num_channels
        self.init_pos_emb_height, self.init_pos_emb_width = init_pos_emb_height, init_pos_emb_width
        self.num_attention_heads, self.num_hidden_layers = num_attention_heads, num_hidden_layers
        self.hidden_size, self.intermediate_size = hidden_size, intermediate_size
        self.merge_kernel_size = list(merge_kernel_size)
        self.layer_norm_eps, self.rotary_base = layer_norm_eps, rotary_base


class KimiVLConfig(PretrainedConfig):
    """Vision tower, language model, and the token that stands for a cell of an image."""

    model_type = "kimi_vl"
    sub_configs = {"vision_config": MoonViTConfig, "text_config": DeepseekV3Config}  # noqa: RUF012
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012

    def __init__(
        self,
        vision_config: Any = None,
        text_config: Any = None,
        ignore_index: int = -100,
        media_placeholder_token_id: int = 163_605,
        projector_norm_eps: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        vision, text = vision_config or {}, text_config or {}
        self.vision_config = MoonViTConfig(**vision) if isinstance(vision, dict) else vision
        self.text_config = DeepseekV3Config(**text) if isinstance(text, dict) else text
        self.ignore_index, self.media_placeholder_token_id = ignore_index, media_placeholder_token_id
        self.projector_norm_eps = projector_norm_eps
        super().__init__(**kwargs)
