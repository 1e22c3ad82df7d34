"""config.json and generation_config.json of an export."""

from __future__ import annotations

from typing import Any

from stages.errors import UserError
from stages.export import lineage
from stages.export.names import Published
from stages.export.result import Result
from stages.export.tensors import TORCH, Dtype
from stages.export.tokenizer import TokenizerOut
from stages.models import hf_config
from stages.spec.resolved_models import MoonViTModel, ProjectorModel
from stages.store import json_file

CONFIG, GENERATION = "config.json", "generation_config.json"
PICTURES, PROCESSOR = "preprocessor_config.json", "processor_config.json"
OWN = "stages"  # our own exact values, which transformers does not read


def files(result: Result, published: Published, tokens: TokenizerOut, dtype: Dtype) -> dict[str, bytes]:
    """The files by name. Our own values stay under "stages" in config.json: an import reads them back exactly."""
    config = hf_config.render(hf_config.read(result.folder / "model" / result.llm))
    if "moonvit" in published.prefixes:
        config = _kimi_vl(result, config, tokens)
    config |= {"dtype": TORCH[dtype], **_ids(tokens)}
    if published.auto_map:
        config["auto_map"] = dict(published.auto_map)
    generation = {**tokens.special, "do_sample": False}
    made = {CONFIG: config, GENERATION: generation, **_processors(result, published, tokens)}
    return {name: json_file.encode(one) for name, one in made.items()}


def _processors(result: Result, published: Published, tokens: TokenizerOut) -> dict[str, dict[str, Any]]:
    """What cuts pictures into patches and puts their placeholders into a text, where the model reads pictures.

    The longest side is that of the table of positions.
    """
    if "moonvit" not in published.prefixes or tokens.roles.image is None:
        return {}
    vit, projector = _vision_side(result)
    code = {
        "AutoImageProcessor": "image_processing_kimi_vl.KimiVLImageProcessor",
        "AutoProcessor": "processing_kimi_vl.KimiVLProcessor",
    }
    pictures = {
        "processor_class": "KimiVLProcessor",
        "auto_map": code,
        "patch_size": vit.patch,
        "merge_size": projector.merge,
        "num_channels": vit.channels,
        "longest_side": vit.table * vit.patch,
        **({"pixels": "rgb"} if _colours(result) else {}),
    }
    word = tokens.inner.id_to_token(tokens.roles.image)
    whole = {"processor_class": "KimiVLProcessor", "auto_map": code, "image_token": word}
    return {PICTURES: pictures, PROCESSOR: whole}


def _colours(result: Result) -> bool:
    """Whether any corpus that the model was trained on has pictures with colours."""
    read = lineage.corpora(lineage.lineage(result))
    return any(one.pixels == "rgb" for name, one in result.data.corpora.items() if name in read)


def _vision_side(result: Result) -> tuple[MoonViTModel, ProjectorModel]:
    by_family = {cfg.family: cfg for cfg in result.stage.modules.values()}
    vit, projector = by_family["moonvit"], by_family["projector"]
    assert isinstance(vit, MoonViTModel)
    assert isinstance(projector, ProjectorModel)
    return vit, projector


def _kimi_vl(result: Result, language: dict[str, Any], tokens: TokenizerOut) -> dict[str, Any]:
    """Kimi-VL's config.json: one for each part, and the token that stands for a cell of an image."""
    vit, projector = _vision_side(result)
    if tokens.roles.image is None:
        raise UserError(
            f"{result.ref}: its tokenizer has no token for a cell of a picture, which config.json names; allowed: one "
            "that has it. Name it in the tokenizer's spec: `roles: {image: ...}`."
        )
    own = {name: cfg.model_dump(mode="json") for name, cfg in result.stage.modules.items()}
    text = {key: value for key, value in language.items() if key != OWN}
    return {
        "architectures": ["KimiVLForConditionalGeneration"],
        "model_type": "kimi_vl",
        "text_config": text,
        "vision_config": _vision(vit, projector.merge),
        "projector_norm_eps": projector.norm_eps,
        "ignore_index": -100,
        "media_placeholder_token_id": tokens.roles.image,
        "vocab_size": language["vocab_size"],
        "tie_word_embeddings": language["tie_word_embeddings"],
        OWN: language[OWN] | {"model": own},
    }


def _vision(cfg: MoonViTModel, merge: int) -> dict[str, Any]:
    """As published; the last three have no field there, where they are always 3, 1e-5 and 10,000."""
    return {
        "model_type": "moonvit",
        "patch_size": cfg.patch,
        "init_pos_emb_height": cfg.table,
        "init_pos_emb_width": cfg.table,
        "num_attention_heads": cfg.heads,
        "num_hidden_layers": cfg.layers,
        "hidden_size": cfg.hidden,
        "intermediate_size": cfg.ffn,
        "merge_kernel_size": [merge, merge],
        "num_channels": cfg.channels,
        "layer_norm_eps": cfg.norm_eps,
        "rotary_base": cfg.rope_base,
    }


def _ids(tokens: TokenizerOut) -> dict[str, Any]:
    """config.json has one end of text; all that end one are in generation_config.json."""
    ends = tokens.roles.eos if tokens.roles.eos is not None else next(iter(tokens.stops), None)
    return {"bos_token_id": tokens.roles.bos, "eos_token_id": ends, "pad_token_id": tokens.special["pad_token_id"]}
