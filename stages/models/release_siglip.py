"""SigLIP as a released model: which of its tensors are which module's, and what its config.json has to say.

A MoonViT begins as SigLIP's vision tower (arXiv 2504.07491, section 2.1: "initialized from SigLIP-SO-400M"). Its names
are others, queries, keys and values are one matrix, the patch embedding is a linear layer, and the table of positions
is resized by the same bicubic interpolation by which MoonViT reads it. The eps of its norms is MoonViT's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stages.models.moonvit_positions import resized
from stages.spec.resolved_models import ContrastiveModel, Model, MoonViTModel, TextTowerModel

VISION, TEXT = "vision_model", "text_model"
UNUSED = re.compile(r"(vision_model|text_model)\.embeddings\.position_ids")  # 0, 1, 2, ...: a buffer of old versions
TEXT_DEFAULTS = {"vocab_size": 32_000, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                 "num_attention_heads": 12, "max_position_embeddings": 64, "layer_norm_eps": 1e-6,
                 "hidden_act": "gelu_pytorch_tanh", "attention_dropout": 0.0}  # fmt: skip
VISION_DEFAULTS = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
                   "num_channels": 3, "patch_size": 16, "layer_norm_eps": 1e-6, "hidden_act": "gelu_pytorch_tanh",
                   "attention_dropout": 0.0, "vision_use_head": True}  # fmt: skip


@dataclass(frozen=True)
class Taken:
    """Where a tensor of ours comes from: tensors of the release, and what is made of them."""

    names: tuple[str, ...]
    make: Callable[[list[Tensor]], Tensor]


def _same(found: list[Tensor]) -> Tensor:
    return found[0]


def taken(model: Model, ours: Mapping[str, Tensor]) -> dict[str, Taken]:
    """For each tensor of a module (by its name), what it is made of. Raises ValueError for another family."""
    match model:
        case TextTowerModel():
            return {name: Taken((f"{TEXT}.{name}",), _same) for name in ours}
        case ContrastiveModel():
            return {name: Taken((f"{VISION}.{name}" if name.startswith("head.") else name,), _same) for name in ours}
        case MoonViTModel():
            return {name: _of_vit(name, model) for name in ours}
        case _:
            raise ValueError(f"no part of SigLIP is a {model.family}")


def is_of(model: Model, name: str) -> bool:
    """Whether a tensor of the release belongs to this module, and not to another part of SigLIP."""
    head = name.startswith(f"{VISION}.head.") or name in ("logit_scale", "logit_bias")
    match model:
        case TextTowerModel():
            return name.startswith(f"{TEXT}.") and not UNUSED.fullmatch(name)
        case ContrastiveModel():
            return head
        case _:
            return not head and not name.startswith(f"{TEXT}.") and not UNUSED.fullmatch(name)


_LAYER = re.compile(r"encoder\.blocks\.(\d+)\.(.+)\.(weight|bias)")
_PARTS = {"norm0": ("layer_norm1",), "norm1": ("layer_norm2",), "wo": ("self_attn.out_proj",), "mlp.fc0": ("mlp.fc1",),
          "mlp.fc1": ("mlp.fc2",), "wqkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")}  # fmt: skip


def _of_vit(name: str, cfg: MoonViTModel) -> Taken:
    if match := _LAYER.fullmatch(name):
        layer, part, kind = match.groups()
        return Taken(tuple(f"{VISION}.encoder.layers.{layer}.{one}.{kind}" for one in _PARTS[part]), torch.cat)
    if name == "patch_embed.pos_emb.weight":
        return Taken((f"{VISION}.embeddings.position_embedding.weight",), lambda found: _table(found[0], cfg.table))
    if name == "patch_embed.proj.weight":
        return Taken((f"{VISION}.embeddings.patch_embedding.weight",), lambda found: found[0].flatten(1))
    if name == "patch_embed.proj.bias":
        return Taken((f"{VISION}.embeddings.patch_embedding.bias",), _same)
    return Taken((f"{VISION}.post_layernorm.{name.rpartition('.')[2]}",), _same)


def _table(positions: Tensor, size: int) -> Tensor:
    """Positions [n * n, hidden], row-major, as a table [size, size, hidden]."""
    side = round(len(positions) ** 0.5)
    if side * side != len(positions):
        raise ValueError(f"{len(positions)} positions are no square")
    return resized(positions.float().unflatten(0, (side, side)), (size, size))


def wanted_siglip(model: Model, config: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """(field, found or None, allowed) of each field of config.json that is not as this module has it."""
    if config.get("model_type") != "siglip":
        yield "model_type", config.get("model_type"), "'siglip'"
        return
    for key in ("quantization_config", "auto_map"):
        if config.get(key) is not None:
            yield key, config[key], "nothing"
    part, defaults, wanted = _part(model)
    inner = config.get(part)
    if not isinstance(inner, dict):
        yield part, inner, "an object"
        return
    for key, value in wanted.items():
        found = inner.get(key, defaults.get(key))
        if type(found) is not type(value) or found != value:
            yield f"{part}.{key}", found, repr(value)


def known(model: Model) -> dict[str, frozenset[str]]:
    """The fields of config.json that are read or of no effect: of its top level (""), and of the module's part."""
    part, defaults, wanted = _part(model)
    return {"": frozenset({"text_config", "vision_config"}), part: frozenset({*defaults, *wanted, "image_size"})}


def _part(model: Model) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The part of config.json that a module is of, what absence means there, and what is wanted."""
    shared: dict[str, Any] = {"hidden_act": "gelu_pytorch_tanh", "attention_dropout": 0.0}
    match model:
        case TextTowerModel():
            wanted = (
                shared
                | _sizes(model)
                | {"vocab_size": model.vocab, "max_position_embeddings": model.length, "layer_norm_eps": model.norm_eps}
            )
            projection = {"projection_size": model.hidden}
            return "text_config", TEXT_DEFAULTS | projection, wanted | projection
        case ContrastiveModel():
            wanted = shared | {"hidden_size": model.hidden, "intermediate_size": model.ffn,
                               "num_attention_heads": model.heads, "layer_norm_eps": model.norm_eps,
                               "vision_use_head": True}  # fmt: skip
            return "vision_config", VISION_DEFAULTS, wanted
        case MoonViTModel():
            wanted = shared | _sizes(model) | {"num_channels": model.channels, "patch_size": model.patch}
            return "vision_config", VISION_DEFAULTS, wanted
        case _:
            raise ValueError(f"no part of SigLIP is a {model.family}")


def _sizes(model: TextTowerModel | MoonViTModel) -> dict[str, Any]:
    return {"hidden_size": model.hidden, "intermediate_size": model.ffn, "num_hidden_layers": model.layers,
            "num_attention_heads": model.heads}  # fmt: skip
