"""Ouro in our `LoopedModel`: Llama's names, the norms behind both sub-layers, and the exit gate."""

from __future__ import annotations

from stages.engines.nemo import names_llama
from stages.engines.nemo.layout import LAYER, Rule
from stages.spec.families.ouro import OuroModel


def rules(cfg: OuroModel, module: str) -> list[Rule]:
    """The rules of an Ouro called `module`; Core adds the residual where the norms behind the sub-layers are."""
    theirs, ours = f"decoder.layers.{LAYER}", f"{module}.model.layers.{LAYER}"
    return [
        *names_llama.rules(cfg, module),
        Rule(f"{theirs}.self_attn_bda.norm.weight", (f"{ours}.input_layernorm_2.weight",)),
        Rule(f"{theirs}.mlp_bda.norm.weight", (f"{ours}.post_attention_layernorm_2.weight",)),
        Rule("early_exit_gate.weight", (f"{module}.model.early_exit_gate.weight",)),
        Rule("early_exit_gate.bias", (f"{module}.model.early_exit_gate.bias",)),
    ]
