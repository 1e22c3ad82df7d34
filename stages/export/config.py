"""config.json and generation_config.json of an export."""

from __future__ import annotations

from typing import Any

from stages.export.result import Result
from stages.export.tensors import TORCH, Dtype
from stages.export.tokenizer import TokenizerOut
from stages.models import hf, hf_config
from stages.store import json_file

CONFIG, GENERATION = "config.json", "generation_config.json"


def longest(result: Result) -> int:
    """The longest context, in tokens, that the model is for."""
    return result.stage.max_context


def files(result: Result, tokens: TokenizerOut, dtype: Dtype) -> dict[str, bytes]:
    """The files by name. Our own values stay under "stages" in config.json: an import reads them back exactly."""
    config = hf_config.render(hf.load_config(result.folder / "model" / result.llm))
    config |= {"dtype": TORCH[dtype], **_ids(tokens)}
    generation = {**tokens.special, "do_sample": False}
    return {CONFIG: json_file.encode(config), GENERATION: json_file.encode(generation)}


def _ids(tokens: TokenizerOut) -> dict[str, Any]:
    """config.json has one end of text; all that end one are in generation_config.json."""
    ends = tokens.roles.eos if tokens.roles.eos is not None else next(iter(tokens.stops), None)
    return {"bos_token_id": tokens.roles.bos, "eos_token_id": ends, "pad_token_id": tokens.special["pad_token_id"]}
