"""Every field of a config.json changed, dropped, added: which changes are accepted, and what transformers computes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from stages.models.release_config import FREE

Config = dict[str, Any]
ALIASES = {"num_experts": 8, "num_local_experts": 8, "n_routed_experts": 8}
DROPPED: Any = object()
ROPE = ("rope_parameters", "rope_scaling", "rope_theta")
# Free fields about which transformers itself complains, or that change what it returns and not what it computes.
LEFT_OUT = FREE - {*ROPE, "max_window_layers", "is_decoder", "pretraining_tp"}
INNER = {"factor": 2.0, "attention_factor": 0.5, "partial_rotary_factor": 0.5, "rope_type": "dynamic", "mscale": 2.0}
ADDED: Config = {  # by name or by another family's name
    "sliding_window": 4, "use_sliding_window": True, "attention_bias": True, "mlp_bias": True, "head_dim": 4,
    "partial_rotary_factor": 0.5, "rope_theta": 123.0, "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    "hidden_act": "gelu", "hidden_activation": "gelu", "rms_norm_eps": 0.1, "rope_local_base_freq": 7.0,
    "query_pre_attn_scalar": 3, "final_logit_softcapping": 1.0, "attn_logit_softcapping": 1.0, "clip_qkv": 0.1,
    "norm_topk_prob": False, "decoder_sparse_step": 2, "mlp_only_layers": [0], "is_causal": False, "logit_scale": 2.0,
    "use_bidirectional_attention": True, "rope_interleave": False, "scoring_func": "softmax", "moe_layer_freq": 2,
}  # fmt: skip


def mutants(folder: Path) -> Iterator[tuple[str, Config]]:
    """What was done, and the config.json that came of it, one change at a time."""
    written: Config = json.loads((folder / "config.json").read_text())
    whole = {**AutoConfig.from_pretrained(folder).to_dict(), **written}
    changes = [(key, value) for key, old in whole.items() for value in (DROPPED, *_others(old))]
    for name in ROPE:
        inner = whole[name] if isinstance(whole.get(name), dict) else {}
        changes += [(f"{name}.{key}", value) for key, old in inner.items() for value in (DROPPED, *_others(old))]
        changes += [(f"{name}.{key}", value) for key, value in INNER.items() if inner]
    for key, value in (*changes, *ADDED.items()):
        if key.partition(".")[0] not in LEFT_OUT:
            made = _changed(written, key.split("."), value)
            if made != written:
                yield f"{key}: {'dropped' if value is DROPPED else repr(value)}", made
    other_names = {key: value for key, value in ALIASES.items() if key not in written}
    yield from ((f"{key}: {value}, first", {key: value} | written) for key, value in other_names.items())
    plain = {key: value for key, value in written.items() if key not in ROPE}
    yield "a base in rope_scaling alone, where transformers 4 reads none", {**plain, "rope_scaling": _based(whole)}


def _based(whole: Config) -> Config:
    """Rotary positions with their base in one, as transformers 5 writes them."""
    form = next((whole[name] for name in ROPE[:2] if isinstance(whole.get(name), dict)), {"rope_type": "default"})
    return {"rope_theta": whole.get("rope_theta", 77.0), **form}


def logits(config: Config, weights: dict[str, Tensor], tokens: Tensor, folder: Path) -> Tensor | None:
    """transformers' logits under a configuration; None where it refuses it, or the weights do not fit."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    try:
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), attn_implementation="eager").eval()
        model.load_state_dict(weights)
        with torch.no_grad():
            found: Tensor = model(tokens, use_cache=False).logits
    except (TypeError, ValueError, AttributeError, LookupError, RuntimeError, StrictDataclassError):
        return None
    return found


def _others(value: Any) -> tuple[Any, ...]:
    match value:
        case bool():
            return (None, not value)
        case int() | float():
            return (None, 0, value + 1, value * 2, value / 2)
        case str():
            return (None, f"{value}x", "gelu")
        case None:
            return (True, False, 3, 0.5, "gelu")
        case list():
            return (None, [], value[::-1], value[:-1])
        case _:
            return (None, {})


def _changed(config: Config, path: list[str], value: Any) -> Config:
    made = copy.deepcopy(config)
    *parents, last = path
    at = made
    for key in parents:
        at = at[key] if isinstance(at.get(key), dict) else at.setdefault(key, {})
    if value is DROPPED:
        at.pop(last, None)
    else:
        at[last] = value
    return made
