"""Ouro (LoopLM, arXiv 2510.25741): one stack of layers run T times, with an exit gate after every loop.

The layers have four norms each (before and after both sub-layers, the second one before the residual sum). A final
norm shared by all loops ends each of them; its output feeds the head, the gate and the next loop. Names are those of
the released modeling_ouro.py.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from stages.spec import domains
from stages.spec.decoder import Decoder, Dense, Grouped, Layer, Norms
from stages.spec.language_model import (
    HEADS,
    SHARED,
    SWIGLU,
    InitStd,
    LanguageModel,
    Layers,
    NormEps,
    Published,
    Size,
    Vocabulary,
)

NORMS = Norms("input_layernorm", "input_layernorm_2", "post_attention_layernorm", "post_attention_layernorm_2")


class OuroModel(LanguageModel):
    """Ouro (LoopLM): one stack run T times, four norms a layer, shared final norm each loop, exit gate."""

    family: Literal["ouro"]
    layers: Layers
    hidden: Size
    ffn: Size
    heads: Size
    kv_heads: Size
    head_dim: Size
    vocab: Vocabulary
    norm_eps: NormEps
    tied: bool
    init_std: InitStd
    post_norm_gain: Annotated[float, domains.GAIN]  # what the gains of the norms behind the sub-layers start at

    NEMO: ClassVar[bool] = True
    LOOPED: ClassVar[bool] = True
    PUBLISHED: ClassVar[Published] = Published(
        architecture="OuroForCausalLM",
        model_type="ouro",
        names=SHARED | HEADS,
        fixed={**SWIGLU, "early_exit_threshold": 1.0},
        absent={"hidden_act": "silu", "early_exit_threshold": 1.0},
        layer_types=True,
    )

    def decoder(self) -> Decoder:
        """Equal layers, looped."""
        attention = Grouped(self.heads, self.kv_heads, self.head_dim, self.head_dim**-0.5)
        layer = Layer(attention, Dense(self.ffn), NORMS)
        return Decoder((layer,) * self.layers, self.hidden, self.vocab, self.norm_eps, self.tied, looped=True)

    def first_values(self) -> dict[str, float]:
        """The gains behind the sub-layers, as the spec states them."""
        return {"layernorm_2.weight": self.post_norm_gain}
