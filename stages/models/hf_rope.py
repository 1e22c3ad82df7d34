"""Rotary positions in a config.json: `rope_theta` and `rope_scaling`, or transformers 5's `rope_parameters`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.contract.rope import longrope_factors
from stages.spec.language_model import ALL_KEYS, LOCAL_KEYS, LanguageModel
from stages.spec.resolved_models import Rope, Yarn

TAKEN_FOR_LOCAL = 500_000.0  # Olmo3Config.default_theta


def scaling(rope: Rope, cfg: LanguageModel, max_context: int) -> dict[str, Any] | None:
    """`rope_scaling`, its kind under the key that the family's configuration reads."""
    found = rope_scaling(rope, cfg.parts.rotated, max_context)
    return None if found is None else {cfg.PUBLISHED.scaling_kind: found.pop("rope_type"), **found}


def by_kind_of_layer(rope: Rope, cfg: LanguageModel, scaling: dict[str, Any] | None) -> dict[str, Any]:
    """The stage's base for layers with a window: transformers 5.13 to 5.17 read `rope_theta` for the others alone, and
    take another base for these. A key that 4.57 does not read, and that 5.12 warns about.
    """
    if cfg.parts.local_base != "unscaled" or rope.base == TAKEN_FOR_LOCAL:
        return {}
    plain = {"rope_type": "default", "rope_theta": rope.base}
    return {"rope_parameters": {ALL_KEYS: {**plain, **(scaling or {})}, LOCAL_KEYS: plain}}


def rope_scaling(rope: Rope, dim: int, max_context: int) -> dict[str, Any] | None:
    """transformers' rope_scaling: none, "llama3", "linear", "yarn", or for llama3 with interpolation on top "longrope".

    longrope (arXiv 2402.13753) divides each frequency by a factor of its own. Short and long factors are the same, so
    every length gets the same frequencies; attention_factor 1 and an original length equal to the context keep
    transformers and vLLM from scaling the attention.
    """
    if rope.yarn is not None:
        return _yarn_written(rope.yarn)
    if rope.llama3 is None:
        return None if rope.interpolation == 1.0 else {"rope_type": "linear", "factor": rope.interpolation}
    if rope.interpolation == 1.0:
        return {
            "rope_type": "llama3",
            "factor": rope.llama3.factor,
            "low_freq_factor": rope.llama3.low,
            "high_freq_factor": rope.llama3.high,
            "original_max_position_embeddings": rope.llama3.original,
        }
    factors = longrope_factors(rope, dim)
    return {
        "rope_type": "longrope",
        "factor": rope.interpolation,
        "short_factor": factors,
        "long_factor": factors,
        "attention_factor": 1.0,
        "original_max_position_embeddings": max_context,
    }


def _yarn_written(yarn: Yarn) -> dict[str, Any]:
    """Fields that are not stated are left out: transformers then takes what `usual_yarn` says."""
    given = {name: getattr(yarn, name) for name in ("attention_factor", "mscale", "mscale_all_dim")}
    return {
        "rope_type": "yarn",
        "factor": yarn.factor,
        "original_max_position_embeddings": yarn.original,
        "beta_fast": yarn.beta_fast,
        "beta_slow": yarn.beta_slow,
        **({} if yarn.truncate else {"truncate": False}),
        **{name: value for name, value in given.items() if value is not None},
    }


def usual_yarn(form: Mapping[str, Any], max_context: Any) -> dict[str, Any]:
    """A "yarn" with what transformers takes for each field that is not given (modeling_rope_utils)."""
    usual = {
        "beta_fast": 32.0, "beta_slow": 1.0, "truncate": True, "original_max_position_embeddings": max_context,
    }  # fmt: skip
    return {**usual, **{key: value for key, value in form.items() if value is not None}}
