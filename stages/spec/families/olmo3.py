"""OLMo 3 (transformers' modeling_olmo3.py): OLMo 2's blocks; three of four layers have a sliding window.

Positions are scaled in the layers that see all keys alone: the others keep the base as it is. So it was trained, and so
4.57 and 5.13 to 5.17 compute it; 5.0 to 5.12 scale every layer, a mistake (huggingface/transformers#45945).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from stages.spec import language_model as lm
from stages.spec.decoder import POST_NORMS, Decoder, Dense, Grouped, Layer, windowed


class Olmo3Model(lm.LanguageModel):
    """OLMo 3: post-norms, QK-norm over all heads together, windows in all layers but every n-th."""

    family: Literal["olmo3"]
    layers: lm.Layers
    hidden: lm.Size
    ffn: lm.Size
    heads: lm.Size
    kv_heads: lm.Size
    window: lm.Size  # keys that a query sees, its own among them
    full_every: lm.Layers  # every n-th layer sees all keys
    vocab: lm.Vocabulary
    norm_eps: lm.NormEps
    tied: bool
    init_std: lm.InitStd

    PUBLISHED: ClassVar[lm.Published] = lm.Published(
        architecture="Olmo3ForCausalLM",
        model_type="olmo3",
        names={**lm.SHARED, "kv_heads": "num_key_value_heads", "window": "sliding_window"},
        fixed={**lm.SWIGLU, "pad_token_id": None},  # transformers gives no gradient to the row of a padding token
        free=frozenset({"pad_token_id"}),
        absent={
            "hidden_act": "silu", "rms_norm_eps": 1e-5, "sliding_window": 4096, "max_position_embeddings": 2048,
            "initializer_range": 0.02, "rope_theta": None,  # 10,000 in 4.57, 500,000 from 5.13 on
        },
        layer_types=True,
        scaled="transformers 5.0 to 5.12 scale those of every layer, as no OLMo 3 was trained; 4.57 and 5.13 do not",
        full_every=4,
    )  # fmt: skip

    def decoder(self) -> Decoder:
        """Layers with a window, and those without."""
        head_dim = self.hidden // self.heads
        layers = []
        for window in windowed(self.layers, self.full_every, self.window):
            attention = Grouped(
                self.heads, self.kv_heads, head_dim, head_dim**-0.5, qk_norm="whole", window=window,
                local=window is not None,
            )  # fmt: skip
            layers.append(Layer(attention, Dense(self.ffn), POST_NORMS))
        return Decoder(tuple(layers), self.hidden, self.vocab, self.norm_eps, self.tied, local_base="unscaled")
