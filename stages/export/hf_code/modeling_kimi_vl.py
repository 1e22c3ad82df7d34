"""Kimi-VL (arXiv 2504.07491): image features in the token stream of a language model, under the published names.

`pixel_values` [N, channels, patch, patch] are the patches of all images of a prompt, row by row, one image after
another, in [-1, 1]; `image_grid_hws` int [images, 2] are their rows and columns of patches. A prompt has one
`media_placeholder_token_id` for every merged block of patches.
"""

from __future__ import annotations

from typing import Any

import transformers
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_kimi_vl import KimiVLConfig
from .kimi_vl_language import LanguageModel
from .kimi_vl_vision import Projector, VisionTower
from .stages_blocks import cache, factors, frequencies, loss, places, tables


class KimiVLForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Vision tower, projector and language model."""

    config_class = KimiVLConfig
    base_model_prefix = ""
    _supports_sdpa = True
    _keep_in_fp32_modules_strict = ["e_score_correction_bias"]  # noqa: RUF012
    _tied_weights_keys = (
        {"language_model.lm_head.weight": "language_model.model.embed_tokens.weight"}
        if int(transformers.__version__.partition(".")[0]) >= 5
        else ["language_model.lm_head.weight"]
    )

    def __init__(self, config: KimiVLConfig) -> None:
        super().__init__(config)
        self.turns = frequencies(config.text_config, config.text_config.qk_rope_head_dim)
        self.factor, _ = factors(config.text_config)
        self.vision_tower = VisionTower(config.vision_config)
        self.multi_modal_projector = Projector(config)
        self.language_model = LanguageModel(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The table of words."""
        return self.language_model.model.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Another table of words."""
        self.language_model.model.embed_tokens = value

    def get_output_embeddings(self) -> nn.Module:
        """The head."""
        return self.language_model.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Another head."""
        self.language_model.lm_head = new_embeddings

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_grid_hws: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits [B, T, V], of the last `logits_to_keep` tokens if that is not 0.

        Images are the prompt's: where the cache holds tokens already, they have been read. Raises ValueError unless
        there are as many placeholders as features.
        """
        text = self.language_model
        x = text.model.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        past = cache(past_key_values, self.config.text_config.use_cache if use_cache is None else use_cache)
        before = 0 if past is None else past.get_seq_length()
        if pixel_values is not None and image_grid_hws is not None and input_ids is not None and before == 0:
            x = self._with_images(x, input_ids, pixel_values, image_grid_hws)
        positions, seen = places(attention_mask, x.shape[0], x.shape[1], before, x.device)
        turns = tables(positions if position_ids is None else position_ids, self.turns, self.factor)
        x = text.model(x, turns, seen, past)
        logits = text.lm_head(x[:, -logits_to_keep:] if logits_to_keep else x)
        return CausalLMOutputWithPast(loss=loss(logits, labels), logits=logits, past_key_values=past)

    def _with_images(self, x: Tensor, tokens: Tensor, pixels: Tensor, grids: Tensor) -> Tensor:
        sizes = [(int(height), int(width)) for height, width in grids.tolist()]
        patches = pixels.to(self.vision_tower.patch_embed.proj.weight.dtype)
        features = self.multi_modal_projector(self.vision_tower(patches, sizes), sizes)
        where = tokens == self.config.media_placeholder_token_id
        if int(where.sum()) != len(features):
            raise ValueError(f"found {int(where.sum())} image tokens for {len(features)} features of images")
        return x.masked_scatter(where[..., None], features.to(x.dtype))
