"""Which family of this project a recipe's model is: by what its switches build, else by the name that it goes by.

Families are known by what they are made of (stages/spec/decoder.py) and by the names that they are published under.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from stages.audit.recipe import Stage, Value
from stages.spec.decoder import PRE_NORMS, Decoder, Grouped, Latent, QKNorm
from stages.spec.families import FAMILIES

MODEL: dict[str, int | float] = {  # a figure of some family, and its value where it is unknown
    "layers": 16, "hidden": 2048, "ffn": 8192, "heads": 16, "kv_heads": 16, "head_dim": 128, "vocab": 32_000,
    "experts": 64, "active_experts": 8, "expert_ffn": 1024, "shared_experts": 1, "dense_layers": 1, "routed_scale": 1.0,
    "kv_lora_rank": 512, "qk_nope_dim": 128, "qk_rope_dim": 64, "v_head_dim": 128, "window": 4096, "full_every": 4,
    "nope_every": 4, "query_scalar": 256, "score_softcap": 50.0, "logit_softcap": 30.0, "local_rope_base": 10_000.0,
    "norm_eps": 1e-5,
}  # fmt: skip
READ = {"active_experts": "experts_per_token"}  # what readers call a figure, where it is another word
_SAID = ("architecture", "flavor", "recipe", "pretrained", "load", "tokenizer")
_ROUTED = re.compile(r"moe|a\d+b|\dx\d+b|\d+e(?![a-z0-9])|experts")  # in the name of a model with routed experts


@dataclass(frozen=True)
class Family:
    """A family and why; `open`: the recipe's model is none of this project's, or nothing that was read names one."""

    name: str
    because: str
    open: bool = False


@dataclass(frozen=True)
class Traits:
    """What tells families apart, in the order of what weighs most."""

    latent: bool = False
    routed: bool = False
    before: bool = True  # norms before each sub-layer, and nothing else about it is unusual
    qk_norm: QKNorm | None = None
    qkv_bias: bool = False
    window: bool = False
    turned: bool = True  # positions in every layer

    def distance(self, other: Traits) -> int:
        """How far another model is from this one."""
        weights = {"latent": 8, "routed": 8, "before": 4, "qk_norm": 1, "qkv_bias": 1, "window": 1, "turned": 1}
        return sum(weight for name, weight in weights.items() if getattr(self, name) != getattr(other, name))


@cache
def traits() -> dict[str, Traits]:
    """What each family is made of; looped ones are no other trainer's."""
    found = {}
    for name, cls in FAMILIES.items():
        if cls.LOOPED:
            continue
        parts = _parts(name)
        layer, attention = parts.layers[0], parts.layers[0].attention
        grouped = attention if isinstance(attention, Grouped) else None
        usual = layer.norms == PRE_NORMS and not parts.gain_offset
        found[name] = Traits(
            isinstance(attention, Latent), parts.mixture is not None, usual,
            None if grouped is None else grouped.qk_norm, grouped is not None and grouped.qkv_bias,
            grouped is not None and grouped.window is not None, all(one.turned for one in parts.attentions),
        )  # fmt: skip
    return found


def family(stage: Stage) -> Family:
    """The family of a stage's model, of those that this project has."""
    built = _built(stage)
    if built is not None:
        return built
    wanted = Traits(routed="experts" in stage.values or "experts_per_token" in stage.values)
    for value in _named(stage):
        text = str(value.value).lower()
        name = _called(text)
        if name is None:
            continue
        if _ROUTED.search(text) and not traits()[name].routed:
            nearest = _nearest(stage, Traits(routed=True))
            return Family(nearest, f"the nearest to {value.where} {text}, which has no family here", open=True)
        return _fitting(stage, name, f"{value.where} {value.key}")
    return Family(_nearest(stage, wanted), "the usual one; nothing that was read names one", open=True)


def _called(text: str) -> str | None:
    """The family of a model's name, by the longest name that is in it; with experts, the one that has them."""
    plain = re.sub(r"[^a-z0-9]", "", text)
    names: dict[str, str] = {}
    for name in traits():
        published = FAMILIES[name].PUBLISHED
        for one in (name, published.model_type, published.architecture.removesuffix("ForCausalLM")):
            names.setdefault(re.sub(r"[^a-z0-9]", "", one.lower()), name)
    found = max((one for one in names if one in plain), key=len, default=None)
    if found is None:
        return None
    routed = [name for one, name in names.items() if one.startswith(found) and traits()[name].routed]
    return routed[0] if routed and _ROUTED.search(text) else names[found]


def _named(stage: Stage) -> list[Value]:
    """What may name a model: its class, its recipe, its path; of torchtitan the function that makes it."""
    found = [stage.values[one] for one in _SAID if isinstance(stage.get(one), str)]
    function = stage.name.partition(":")[2] if stage.framework == "torchtitan" else ""
    return [*found, Value(function, stage.where, function)] if function else found


def _built(stage: Stage) -> Family | None:
    """What switches of Megatron build, where the command is whole: no switch is off by default."""
    if stage.framework != "megatron-lm" or stage.on("partial") or not stage.stated("layers"):
        return None
    wanted = Traits(stage.on("latent"), "experts" in stage.values, qk_norm="head" if stage.on("qk_norm") else None,
                    qkv_bias=stage.on("qkv_bias"), window=bool(stage.count("window")))  # fmt: skip
    name = _nearest(stage, wanted)
    switches = [one for one in ("latent", "routed", "qk_norm", "qkv_bias", "window") if getattr(wanted, one)]
    where = stage.at(*("experts" if one == "routed" else one for one in switches), "layers")
    other = [one for one in vars(wanted) if getattr(wanted, one) != getattr(traits()[name], one)]
    if not stage.on("gated") and not wanted.routed:
        other.append("feed-forward parts without a gate")
    because = f"{where} {', '.join(switches) or 'a gated decoder'}"
    if other:
        return Family(name, f"the nearest to {because}: no family here agrees in {', '.join(other)}", open=True)
    return _fitting(stage, name, because)


def _nearest(stage: Stage, wanted: Traits) -> str:
    """The family that differs least; of equal ones, that which has most of the figures that the recipe states."""
    stated = [one for one in MODEL if stage.get(READ.get(one, one)) is not None]

    def far(name: str) -> tuple[int, int]:
        return wanted.distance(traits()[name]), sum(one not in FAMILIES[name].model_fields for one in stated)

    return min(traits(), key=far)


def _fitting(stage: Stage, name: str, because: str) -> Family:
    """The family, unless its heads divide the hidden size and the recipe's do not."""
    hidden, heads, dim = stage.count("hidden"), stage.count("heads"), stage.count("head_dim")
    if "head_dim" not in FAMILIES[name].model_fields and hidden and heads and dim and heads * dim != hidden:
        differs = f"{because} says {name}, but its heads do not make up the hidden size"
        return Family(_nearest(stage, Traits(routed=traits()[name].routed)), differs, open=True)
    return Family(name, because)


def has_router_bias(name: str) -> bool:
    """Whether a bias that a rule moves balances the experts: where scores are sigmoids (arXiv 2412.19437)."""
    mixture = _parts(name).mixture
    return mixture is not None and mixture.scoring == "sigmoid"


def _parts(name: str) -> Decoder:
    """What a model of a family is made of, with the figures of MODEL."""
    cls = FAMILIES[name]
    figures = {key: value for key, value in MODEL.items() if key in cls.model_fields}
    return cls.model_validate({"family": name, "tied": False, "init_std": 0.02, **figures}).parts
