"""config.json: a model's shape and rotary positions as transformers and vLLM read them.

Beside the fields they know stands one key, "stages", with our own exact values. Reading back compares the two, so an
edit to either is noticed instead of half believed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from stages.contract.rope import longrope_factors
from stages.errors import UserError
from stages.spec import wording
from stages.spec.families import FAMILIES
from stages.spec.language_model import ALL_KEYS, LOCAL_KEYS, LanguageModel, Published
from stages.spec.resolved_models import Llama3Scaling, Model, Rope, Yarn
from stages.store import json_file

LOCAL_BASE = "rope_local_base_freq"
TAKEN_FOR_LOCAL = 500_000.0  # Olmo3Config.default_theta

_MODEL: TypeAdapter[Model] = TypeAdapter(Model)


@dataclass(frozen=True)
class ModelConfig:
    """What a config.json says: the model, its rotary positions, the longest context it is for."""

    model: Model
    rope: Rope | None
    max_context: int | None
    loops: int | None


def render(config: ModelConfig) -> dict[str, Any]:
    """The content of config.json."""
    own = {
        "model": config.model.model_dump(mode="json"),
        "rope": config.rope.model_dump(mode="json") if config.rope is not None else None,
        "max_context": config.max_context,
        "loops": config.loops,
    }
    return _known_to_transformers(config) | {"stages": own}


def read(folder: Path) -> ModelConfig:
    """The model in a folder, written by us or released in Hugging Face format.

    Raises UserError if there is no config.json, if it is of an unknown kind, or if our values and transformers'
    disagree.
    """
    path = folder / "config.json"
    try:
        found = json_file.read(path)
    except json_file.MissingFileError as error:
        raise UserError(f"{path}: not found. A model folder has config.json and model.safetensors.") from error
    except json_file.JsonFileError as error:
        raise UserError(f"{error}. Take the folder's config.json anew.") from error
    try:
        config = _own(found["stages"]) if "stages" in found else _released(found, path)
    except (ValidationError, KeyError, TypeError) as error:
        raise UserError(f"{path}: a value is missing or of the wrong kind: {_which(error)}") from error
    if "stages" in found and (wrong := _differing(found, json.loads(json.dumps(render(config), allow_nan=False)))):
        raise UserError(
            f'{path}: {", ".join(wrong)} disagree with the values under "stages". '
            'Edit both alike, or remove "stages" to have transformers\' fields believed.'
        )
    return config


def _which(error: ValidationError | KeyError | TypeError) -> str:
    """The field, and what is expected of it."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {wording.of_value(first)}"


# What an export says of itself: the type that it was rounded to, and the ids that its tokenizer has.
OF_AN_EXPORT = ("dtype", "bos_token_id", "eos_token_id")


def _differing(found: dict[str, Any], rendered: dict[str, Any]) -> list[str]:
    compared = {key: value for key, value in rendered.items() if key not in OF_AN_EXPORT}
    return sorted(key for key, value in compared.items() if key not in found or found[key] != value)


def _own(found: dict[str, Any]) -> ModelConfig:
    rope = Rope.model_validate_json(json.dumps(found["rope"], allow_nan=False)) if found["rope"] is not None else None
    model = _MODEL.validate_json(json.dumps(found["model"], allow_nan=False))
    return ModelConfig(model=model, rope=rope, max_context=found["max_context"], loops=found["loops"])


def _known_to_transformers(config: ModelConfig) -> dict[str, Any]:
    cfg = config.model
    if not isinstance(cfg, LanguageModel):
        return {"model_type": f"stages_{cfg.family}"}
    if config.rope is None or config.max_context is None:
        raise ValueError(f"a {cfg.family} model is written with its rope and its longest context")
    published = cfg.PUBLISHED
    scaling = _scaling_written(config.rope, cfg, config.max_context)
    return {
        "architectures": [published.architecture],
        "model_type": published.model_type,
        **cfg.published(),
        **published.fixed,
        **cfg.derived(),
        **({"layer_types": layer_types(cfg)} if published.layer_types else {}),
        **({"total_ut_steps": config.loops} if cfg.LOOPED and config.loops is not None else {}),
        "max_position_embeddings": config.max_context,
        "rope_theta": config.rope.base,
        "rope_scaling": scaling,
        **_by_kind_of_layer(config.rope, cfg, scaling),
        "bos_token_id": None,  # which tokens begin and end a text is the tokenizer's to say
        "eos_token_id": None,
        "dtype": "float32",
    }


def _scaling_written(rope: Rope, cfg: LanguageModel, max_context: int) -> dict[str, Any] | None:
    """`rope_scaling`, its kind under the key that the family's configuration reads."""
    found = rope_scaling(rope, cfg.parts.rotated, max_context)
    return None if found is None else {cfg.PUBLISHED.scaling_kind: found.pop("rope_type"), **found}


def _by_kind_of_layer(rope: Rope, cfg: LanguageModel, scaling: dict[str, Any] | None) -> dict[str, Any]:
    """The stage's base for layers with a window: transformers 5.13 to 5.17 read `rope_theta` for the others alone, and
    take another base for these. A key that 4.57 does not read, and that 5.12 warns about.
    """
    if cfg.parts.local_base != "unscaled" or rope.base == TAKEN_FOR_LOCAL:
        return {}
    plain = {"rope_type": "default", "rope_theta": rope.base}
    return {"rope_parameters": {ALL_KEYS: {**plain, **(scaling or {})}, LOCAL_KEYS: plain}}


def layer_types(cfg: LanguageModel) -> list[str]:
    """transformers' word for each layer's attention."""
    return [ALL_KEYS if window is None else LOCAL_KEYS for window in cfg.parts.windows]


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


def _released(found: dict[str, Any], path: Path) -> ModelConfig:
    """A release of somebody else's, of a family that is known here."""
    kind = found.get("model_type")
    family = next((one for one in FAMILIES.values() if one.PUBLISHED.model_type == kind), None)
    found = found if family is None else in_usual_form(found, family.PUBLISHED)
    if family is None or any(
        found.get(key, value) != value
        for key, value in family.PUBLISHED.fixed.items()
        if key not in family.PUBLISHED.free
    ):
        known = ", ".join(one.PUBLISHED.model_type for one in FAMILIES.values())
        fixed = "" if family is None else f" with {_written(family.PUBLISHED.fixed)}"
        raise UserError(
            f"{path}: model_type {kind!r} is not one that can be read here: {kind if family else known}{fixed}."
        )
    cfg = _MODEL.validate_python(family.read(found))
    loops = found["total_ut_steps"] if family.LOOPED else None
    return ModelConfig(cfg, _released_rope(found, path), found["max_position_embeddings"], loops)


def in_usual_form(found: dict[str, Any], published: Published) -> dict[str, Any]:
    """A config.json with the usual name of every field, and with rotary positions that transformers 5 writes for each
    kind of layer in the fields that transformers 4 has.
    """
    found = {published.aliases.get(key, key): value for key, value in found.items()}
    form = found.get("rope_parameters")
    if not (published.layer_types and isinstance(form, dict)):
        return found
    main, local = form.get(ALL_KEYS), form.get(LOCAL_KEYS)
    if isinstance(local, dict):
        form = {key: value for key, value in form.items() if key != LOCAL_KEYS}
        if "rope_theta" in local and LOCAL_BASE in published.names.values():
            found = {**found, LOCAL_BASE: local["rope_theta"]}
    return {**found, "rope_parameters": main if isinstance(main, dict) else form}


def _written(fixed: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {json.dumps(value, allow_nan=False)}" for key, value in fixed.items())


def _released_rope(found: dict[str, Any], path: Path) -> Rope:
    """Rotary positions as transformers writes them: since version 5, base and scaling together in `rope_parameters`."""
    scaling = found.get("rope_scaling") or found.get("rope_parameters") or {}
    base = float(found["rope_theta"] if "rope_theta" in found else scaling["rope_theta"])
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return Rope(base=base, llama3=None, interpolation=1.0)
    if kind == "linear":
        return Rope(base=base, llama3=None, interpolation=float(scaling["factor"]))
    if kind == "llama3":
        llama3 = Llama3Scaling(
            factor=float(scaling["factor"]),
            low=float(scaling["low_freq_factor"]),
            high=float(scaling["high_freq_factor"]),
            original=scaling["original_max_position_embeddings"],
        )
        return Rope(base=base, llama3=llama3, interpolation=1.0)
    if kind == "yarn":
        form = usual_yarn(scaling, found["max_position_embeddings"])
        yarn = Yarn(
            factor=float(form["factor"]),
            original=form["original_max_position_embeddings"],
            beta_fast=float(form["beta_fast"]),
            beta_slow=float(form["beta_slow"]),
            truncate=form["truncate"],
            **{
                key: float(form[key]) if key in form else None
                for key in ("attention_factor", "mscale", "mscale_all_dim")
            },
        )
        return Rope(base=base, llama3=None, interpolation=1.0, yarn=yarn)
    raise UserError(f"{path}: rope_scaling of type {kind!r}; those that can be read: default, linear, llama3, yarn.")
