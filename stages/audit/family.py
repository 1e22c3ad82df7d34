"""Which family of this project a recipe's model is: by what its switches build, else by the name that it goes by."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stages.audit.recipe import Stage, Value
from stages.spec.families import FAMILIES

# In the order in which they are asked: a name of several says the first. None: a name of a model that no family is.
_NAMES: tuple[tuple[str, str | None], ...] = (
    (r"mixtral|llama-?4|nemotron-?h|nemotronh|nemotron3|gpt-?oss|mamba|phi|falcon|glm|gpt2|gpt-neox|pythia", None),
    (r"qwen-?3(\.\d)?[^/]*(moe|a\d+b)", "qwen3_moe"), (r"qwen-?3", "qwen3"), (r"qwen-?2[^/]*(moe|a\d+b)", None),
    (r"qwen-?2", "qwen2"), (r"moonlight|deepseek[-_]?v3|kimi", "moonlight"), (r"olmoe", "olmoe"),
    (r"olmo-?3", "olmo3"), (r"olmo-?2", "olmo2"), (r"gemma-?3", "gemma3"), (r"gemma-?2", "gemma2"),
    (r"mistral", "mistral"), (r"llama|smollm", "llama"),
)  # fmt: skip
_SAID = ("architecture", "flavor", "recipe", "pretrained", "load", "tokenizer")
USUAL = "llama"


@dataclass(frozen=True)
class Family:
    """A family and why; `open`: what of the recipe it is not, or that nothing names one, for the user to settle."""

    name: str
    because: str
    open: bool = False


def family(stage: Stage) -> Family:
    """The family of a stage's model, of those that this project has."""
    built = _built(stage)
    if built is not None:
        return built
    for value in _named(stage):
        text = str(value.value)
        for pattern, name in _NAMES:
            if re.search(pattern, text.lower()) is None:
                continue
            if name is None:
                nearest = _nearest(stage)
                return Family(nearest, f"the nearest to {value.where} {text}, which has no family here", open=True)
            return _fitting(stage, name, f"{value.where} {value.key}")
    if "experts" in stage.values or "experts_per_token" in stage.values:
        return Family(_nearest(stage), "the nearest: nothing that was read names one", open=True)
    return Family(USUAL, "of dense decoders; nothing that was read names one", open=True)


def _named(stage: Stage) -> list[Value]:
    """What may name a model: its class, its recipe, its path; of torchtitan the function that makes it."""
    found = [stage.values[one] for one in _SAID if isinstance(stage.get(one), str)]
    function = stage.name.partition(":")[2] if stage.framework == "torchtitan" else ""
    return [*found, Value(function, stage.where, function)] if function else found


def _built(stage: Stage) -> Family | None:
    """What switches of Megatron build, where the command is whole: no switch is off by default."""
    if stage.framework != "megatron-lm" or stage.on("partial") or not stage.stated("layers"):
        return None
    where = stage.at("layers")
    if stage.on("latent"):
        return Family(
            "moonlight", f"{stage.at('latent')} latent attention and routed experts", "experts" not in stage.values
        )
    if "experts" in stage.values:
        named = "qwen3_moe"
        said = f"{stage.at('experts')} routed experts"
        return Family(named, said if stage.on("qk_norm") else f"{said}; but no norm of queries and keys",
                      open=not stage.on("qk_norm"))  # fmt: skip
    if not stage.on("gated"):
        return Family(
            USUAL, f"{where} without --swiglu: no family here has feed-forward parts without a gate", open=True
        )
    if stage.on("qk_norm"):
        return Family("qwen3", f"{stage.at('qk_norm')} norms of queries and keys")
    if stage.on("qkv_bias"):
        return _fitting(stage, "qwen2", f"{stage.at('qkv_bias')} biases of queries, keys and values")
    if stage.count("window"):
        return Family("mistral", f"{stage.at('window')} a window")
    return Family(USUAL, f"{where} gated, without norms of queries and keys, biases and windows")


def _nearest(stage: Stage) -> str:
    return "qwen3_moe" if "experts" in stage.values or "experts_per_token" in stage.values else USUAL


def _fitting(stage: Stage, name: str, because: str) -> Family:
    """The family, unless its heads divide the hidden size and the recipe's do not."""
    hidden, heads, dim = stage.count("hidden"), stage.count("heads"), stage.count("head_dim")
    if "head_dim" not in FAMILIES[name].model_fields and hidden and heads and dim and heads * dim != hidden:
        return Family(USUAL, f"{because} says {name}, but its heads do not make up the hidden size", open=True)
    return Family(name, because)
