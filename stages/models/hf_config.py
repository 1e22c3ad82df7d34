"""config.json: a model's shape and rotary positions as transformers and vLLM read them.

Besides the fields they know there is one key, "stages", with our own exact values. Reading back compares the two, so an
edit to either is noticed instead of half believed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from stages.errors import UserError
from stages.models import hf_rope
from stages.spec import wording
from stages.spec.language_model import ALL_KEYS, LOCAL_KEYS, LanguageModel, Published
from stages.spec.resolved_models import Model, Rope
from stages.store import json_file

LOCAL_BASE = "rope_local_base_freq"

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
    """The model in a folder that was written by us; a release is compared with its spec (`release_config`).

    Raises UserError if there is no config.json, if it is not of ours, or if our values and transformers' disagree.
    """
    path = folder / "config.json"
    try:
        found = json_file.read(path)
    except json_file.MissingFileError as error:
        raise UserError(f"{path}: not found. A model folder has config.json and model.safetensors.") from error
    except json_file.JsonFileError as error:
        raise UserError(f"{error}. Download the folder's config.json again.") from error
    try:
        config = _own(found["stages"])
    except (ValidationError, KeyError, TypeError) as error:
        raise UserError(f"{path}: a value is missing or of the wrong kind: {_which(error)}") from error
    if wrong := _differing(found, json.loads(json.dumps(render(config), allow_nan=False))):
        raise UserError(
            f'{path}: {", ".join(wrong)} disagree with the values under "stages". Put back the file that was written.'
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
    scaling = hf_rope.scaling(config.rope, cfg, config.max_context)
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
        **hf_rope.by_kind_of_layer(config.rope, cfg, scaling),
        "bos_token_id": None,  # which tokens begin and end a text is the tokenizer's to say
        "eos_token_id": None,
        "dtype": "float32",
    }


def layer_types(cfg: LanguageModel) -> list[str]:
    """transformers' word for each layer's attention."""
    return [ALL_KEYS if window is None else LOCAL_KEYS for window in cfg.parts.windows]


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
