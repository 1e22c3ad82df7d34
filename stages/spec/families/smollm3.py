"""SmolLM3 (Hugging Face, July 2025): Llama's blocks, and no positions in every n-th layer (arXiv 2501.18795)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from stages.spec import language_model as lm
from stages.spec.decoder import PRE_NORMS, Decoder, Dense, Grouped, Layer

EVERY = "no_rope_layer_interval"


class SmolLM3Model(lm.LanguageModel):
    """SmolLM3: RMSNorm, SwiGLU, grouped-query attention; rotary positions in all layers but every n-th."""

    family: Literal["smollm3"]
    layers: lm.Layers
    hidden: lm.Size
    ffn: lm.Size
    heads: lm.Size
    kv_heads: lm.Size
    nope_every: lm.Layers  # every n-th layer has no positions
    vocab: lm.Vocabulary
    norm_eps: lm.NormEps
    tied: bool
    init_std: lm.InitStd

    PUBLISHED: ClassVar[lm.Published] = lm.Published(
        architecture="SmolLM3ForCausalLM",
        model_type="smollm3",
        names={**lm.SHARED, "kv_heads": "num_key_value_heads", "nope_every": EVERY},
        fixed={
            **lm.SWIGLU, "mlp_bias": False, "use_sliding_window": False, "sliding_window": None,
            "pad_token_id": None,  # transformers gives no gradient to the row of a padding token
        },
        absent={
            "hidden_act": "silu", "rms_norm_eps": 1e-6, "num_key_value_heads": 4, "max_position_embeddings": 32_768,
            "tie_word_embeddings": True, "initializer_range": 0.02, "rope_theta": 2_000_000.0, EVERY: 4,
            "mlp_bias": False,
        },
        free=frozenset({"sliding_window", "pad_token_id"}),  # no window while `use_sliding_window` is false
    )  # fmt: skip

    def decoder(self) -> Decoder:
        """Layers with positions, and those without."""
        head_dim = self.hidden // self.heads
        layers = []
        for turned in turns(self.layers, self.nope_every):
            attention = Grouped(self.heads, self.kv_heads, head_dim, head_dim**-0.5, turned=bool(turned))
            layers.append(Layer(attention, Dense(self.ffn), PRE_NORMS))
        return Decoder(tuple(layers), self.hidden, self.vocab, self.norm_eps, self.tied)

    def derived(self) -> dict[str, Any]:
        """1 for each layer that has positions."""
        return {"no_rope_layers": turns(self.layers, self.nope_every)}

    @classmethod
    def absent(cls, found: Mapping[str, Any]) -> dict[str, Any]:
        """The layers follow from their interval where they are not listed."""
        usual = super().absent(found)
        layers, every = found.get("num_hidden_layers"), found.get(EVERY) or usual[EVERY]
        if not (isinstance(layers, int) and isinstance(every, int) and every > 0):
            return usual
        return {**usual, "no_rope_layers": turns(layers, every)}


def turns(layers: int, every: int) -> list[int]:
    """1 for each layer that has positions, 0 for every n-th."""
    return [int((layer + 1) % every != 0) for layer in range(layers)]
