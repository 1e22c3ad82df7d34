"""Ouro (LoopLM, arXiv 2510.25741): one stack of layers run T times, with an exit gate after every loop.

The layers have four norms each (before and after both sub-layers, the second one before the residual sum). A final
norm shared by all loops ends each of them; its output feeds the head, the gate and the next loop. Names are those of
the released modeling_ouro.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from stages.spec import domains
from stages.spec import language_model as lm
from stages.spec.decoder import Decoder, Dense, Grouped, Layer, Norms
from stages.spec.released import Released, grouped, rotary

NORMS = Norms("input_layernorm", "input_layernorm_2", "post_attention_layernorm", "post_attention_layernorm_2")


class OuroModel(lm.LanguageModel):
    """Ouro (LoopLM): one stack run T times, four norms a layer, shared final norm each loop, exit gate."""

    family: Literal["ouro"]
    layers: lm.Layers
    hidden: lm.Size
    ffn: lm.Size
    heads: lm.Size
    kv_heads: lm.Size
    head_dim: lm.Size
    vocab: lm.Vocabulary
    norm_eps: lm.NormEps
    tied: bool
    init_std: lm.InitStd
    post_norm_gain: Annotated[float, domains.GAIN]  # what the gains of the norms behind the sub-layers start at

    NEMO: ClassVar[bool] = True
    LOOPED: ClassVar[bool] = True
    PUBLISHED: ClassVar[lm.Published] = lm.Published(
        architecture="OuroForCausalLM",
        model_type="ouro",
        names=lm.SHARED | lm.HEADS,
        fixed={**lm.SWIGLU, "early_exit_threshold": 1.0},
        absent={"hidden_act": "silu", "early_exit_threshold": 1.0},
        layer_types=True,
    )
    RELEASED: ClassVar[Mapping[str, Released]] = {
        "Ouro-1.4B": Released(grouped(24, 2048, 5632, 16, 16, 49_152, "1e-6"), rotary("1_000_000")),
        "Ouro-2.6B": Released(grouped(48, 2048, 5632, 16, 16, 49_152, "1e-6"), rotary("1_000_000")),
    }

    def decoder(self) -> Decoder:
        """Equal layers, looped."""
        attention = Grouped(self.heads, self.kv_heads, self.head_dim, self.head_dim**-0.5)
        layer = Layer(attention, Dense(self.ffn), NORMS)
        return Decoder((layer,) * self.layers, self.hidden, self.vocab, self.norm_eps, self.tied, looped=True)

    def first_values(self) -> dict[str, float]:
        """The gains behind the sub-layers, as the spec states them."""
        return {"layernorm_2.weight": self.post_norm_gain}
