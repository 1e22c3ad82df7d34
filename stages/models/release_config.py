"""A released model's config.json, field by field: what the spec says of the model has to be there.

Heads, eps, activations and rotary positions are in no tensor: a folder that differs in one of them loads, and is
trained on in silence. So every field of config.json is one of three: wanted with one value, of no effect here (FREE),
or unknown, which is refused, since it may change what the model computes. A field that is absent has the value that
transformers gives it. Forms of transformers 4 and 5 are understood.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Set
from itertools import groupby
from pathlib import Path
from typing import Any

from stages.errors import UserError
from stages.models import release_rope
from stages.models.hf_config import ModelConfig, in_usual_form, layer_types, render
from stages.models.hf_values import FLOATS
from stages.models.release_siglip import known, wanted_siglip
from stages.models.release_values import NOTHING, Wrong, equal
from stages.printable import printable
from stages.spec import wording
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Stage
from stages.store import json_file

CONFIG = "config.json"
# Of no effect on what is trained here: how weights began, ids of the tokenizer, how transformers runs, generation.
FREE = frozenset({
    "architectures", "bos_token_id", "chunk_size_feed_forward", "decoder_start_token_id", "dtype", "eos_token_id",
    "finetuning_task", "id2label", "initializer_factor", "initializer_range", "is_decoder", "label2id",
    "max_window_layers", "model_type", "output_attentions", "output_hidden_states", "pad_token_id", "prefix",
    "pretraining_tp", "problem_type", "return_dict", "rope_parameters", "rope_scaling", "rope_theta", "sep_token_id",
    "stages", "task_specific_params", "tf_legacy_loss", "tokenizer_class", "torch_dtype", "torchscript",
    "transformers_version", "unk_token_id", "use_bfloat16", "use_cache", "aux_loss_alpha", "seq_aux",
    "pretraining_seq_len", "total_ut_steps", "max_length", "min_length", "do_sample", "early_stopping", "num_beams",
    "num_beam_groups", "diversity_penalty", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty",
    "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids",
    "num_return_sequences", "output_scores", "return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id",
    "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens",
    "cross_attention_hidden_size", "tie_encoder_decoder", "is_llama_config", "transformers.js_config",
    "unsloth_fixed", "unsloth_version",
})  # fmt: skip
# What transformers notes about a folder, of no effect on the model.
ABOUT = frozenset({
    "_name_or_path", "_commit_hash", "_attn_implementation", "_attn_implementation_autoset",
    "_attn_implementation_internal", "_experts_implementation", "_from_model_config", "_flash_attn_2_enabled",
})  # fmt: skip
# Wanted of every language model, and what their absence means.
FIXED: Mapping[str, Any] = {
    "quantization_config": None, "compression_config": None, "auto_map": None, "sliding_window": None,
    "use_sliding_window": False, "is_encoder_decoder": False, "add_cross_attention": False, "pruned_heads": {},
    "attention_dropout": 0.0, "attention_bias": False, "partial_rotary_factor": 1.0, "num_nextn_predict_layers": 0,
    "ep_size": 1, "use_qk_norm": False, "tie_word_embeddings": False, "use_mrope": False, "rope_interleaved": False,
}  # fmt: skip
WHY = {
    "auto_map": "code of a release is never run; where the weights are those of transformers' own class, or of Ouro as "
    "it was published, remove `auto_map` from config.json",
    "quantization_config": "quantised weights are not trained; take the release's folder in a floating type",
    "compression_config": "quantised weights are not trained; take the release's folder in a floating type",
}
BEGAN = ("stages", "architectures", "initializer_range", "bos_token_id", "eos_token_id", "dtype", "rope_theta",
         "rope_scaling", "rope_parameters", "layer_types")  # fmt: skip
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]')


def check(stage: Stage, module: str, folder: Path, architecture: str | None) -> None:
    """Raise UserError, a line for each field, unless config.json is of the model that a stage's module is.

    No tensor is read.
    """
    path = folder / CONFIG
    try:
        data = json_file.read_bytes(path)
        config = json_file.parse(data, path)
    except json_file.MissingFileError:
        raise UserError(f"{path}: not found, so this is not a Hugging Face model folder") from None
    except json_file.JsonFileError as error:
        raise UserError(f"{error}. Download the folder's config.json again.") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}:1: found {wording.of_kind(config)}; allowed: an object. Download the file again.")
    wrong = list(_wrong(stage, module, config, architecture))
    if wrong:
        where = lines(data.decode("utf-8"))
        what = f"as {stage.ref} says of {module}"
        raise UserError("\n".join(_line(path, where, one, what) for one in wrong))


def _line(path: Path, where: Mapping[str, int], wrong: Wrong, what: str) -> str:
    line = next((where[at] for at in _upwards(wrong.field) if at in where), 1)
    found = "nothing" if wrong.found is NOTHING else repr(wrong.found)
    found = found if len(found) <= 200 else f"{found[:200]}..."
    repair = wrong.repair or f"{what}. Correct the spec, or give the folder of the release that it means"
    return printable(f"{path}:{line}: {wrong.field}: found {found}; allowed: {wrong.allowed}, {repair}.")


def _upwards(field: str) -> Iterator[str]:
    """A path, then what it lies in."""
    while field:
        yield field
        field = field.rpartition(".")[0]


def _wrong(stage: Stage, module: str, config: dict[str, Any], architecture: str | None) -> Iterator[Wrong]:
    model = stage.modules[module]
    named = config.get("architectures")
    if architecture is not None and named != [architecture]:
        repair = "as the release's spec says. Correct it, or give the folder that it means"
        yield Wrong("architectures", config.get("architectures", NOTHING), repr([architecture]), repair)
    yield from _dtypes(config)
    if not isinstance(model, LanguageModel):
        for field, found, allowed in wanted_siglip(model, config):
            yield Wrong(field, NOTHING if found is None else found, allowed, WHY.get(field, ""))
        for part, fields in known(model).items():
            inner = config.get(part) if part else config
            if isinstance(inner, dict):
                unset = {key for key, value in inner.items() if key in FIXED and not value}  # as transformers 4 wrote
                reported = {"auto_map", "quantization_config"} if not part else set()
                free = fields | unset | reported | {"tie_word_embeddings"}
                yield from _strange(inner, free, f"{part}." if part else "")
        return
    assert stage.rope is not None
    wanted = render(ModelConfig(model, stage.rope, stage.max_context, None))
    kind = wanted["model_type"]
    if config.get("model_type") != kind:
        yield Wrong("model_type", config.get("model_type", NOTHING), repr(kind))
        return
    yield from _contradicting_aliases(config, model)
    yield from release_rope.local_layers(config, model)
    config = in_usual_form(config, model.PUBLISHED)
    yield from _fields(config, wanted, model)
    yield from _layer_types(config, model)
    usual = model.absent(config).get("rope_theta", 10_000.0)
    yield from release_rope.positions(config, stage.rope, model.parts.rotated, stage.max_context, usual)


def _contradicting_aliases(config: dict[str, Any], model: LanguageModel) -> Iterator[Wrong]:
    """Two names of one field with two values: which one counts depends on the version of transformers."""
    for alias, usual in model.PUBLISHED.aliases.items():
        if alias in config and usual in config and not equal(config[alias], config[usual]):
            yield Wrong(alias, config[alias], repr(config[usual]), f"as `{usual}` beside it. Download the file again")


def _dtypes(config: dict[str, Any]) -> Iterator[Wrong]:
    """Types of weights: floating, and under both names that versions of transformers use the same."""
    found = {key: config[key] for key in ("dtype", "torch_dtype") if config.get(key) is not None}
    for key, value in found.items():
        if value != "auto" and not (isinstance(value, str) and value in FLOATS):
            yield Wrong(key, value, ", ".join(FLOATS), "a type that can be trained. Take the folder in one of them")
    if len(set(map(str, found.values()))) > 1:
        yield Wrong(
            "torch_dtype", found["torch_dtype"], repr(found["dtype"]), "as `dtype` beside it. Download the file again"
        )


def _fields(config: dict[str, Any], rendered: dict[str, Any], model: LanguageModel) -> Iterator[Wrong]:
    published = model.PUBLISHED
    wanted = {**FIXED, **{key: value for key, value in rendered.items() if key not in BEGAN}, **model.implied()}
    wanted = {key: value for key, value in wanted.items() if key not in published.free}
    absent = {**FIXED, **model.absent(config), **model.implied()}
    for key, value in wanted.items():
        found = config.get(key, NOTHING)
        if found is None and key in ("head_dim", "num_key_value_heads", "use_bidirectional_attention"):
            found = NOTHING  # transformers takes null for "not given" there
        whole = not (isinstance(value, int) and isinstance(found, float))  # transformers refuses 2.0 layers
        if not (whole and equal(absent.get(key, NOTHING) if found is NOTHING else found, value)):
            yield Wrong(key, found, repr(value), WHY.get(key, ""))
    yield from _strange(config, set(wanted) | published.free | {"layer_types"})


def _strange(config: dict[str, Any], fields: Set[str], at: str = "") -> Iterator[Wrong]:
    """Fields that are neither read nor known to be of no effect: they may change what the model computes."""
    for key in sorted(set(config) - fields - FREE - ABOUT):
        if config[key] is not None:
            repair = "which this is not. Remove it if it changes nothing; else this is another model"
            yield Wrong(f"{at}{key}", config[key], "fields that are known", repair)


def _layer_types(config: dict[str, Any], model: LanguageModel) -> Iterator[Wrong]:
    """The kind of attention of every layer."""
    found, wanted = config.get("layer_types"), layer_types(model)
    if found is None and model.PUBLISHED.layer_types:  # what transformers takes then
        usual = model.model_copy(update=model.pattern(config))
        found = layer_types(usual)
    if found is not None and found != wanted:
        yield Wrong("layer_types", config.get("layer_types", NOTHING), words(wanted))


def words(types: list[str]) -> str:
    """The kinds of layers, equal neighbours counted: 5 times 'sliding_attention', 1 times 'full_attention'."""
    return ", ".join(f"{len(list(group))} times {kind!r}" for kind, group in groupby(types))


def lines(text: str) -> dict[str, int]:
    """Dotted path of each key -> its line, counted from 1. Of a key that comes twice, the last, which is what counts.

    `text` is valid JSON. Keys inside lists have the list's path.
    """
    found: dict[str, int] = {}
    path: list[str] = []  # of the objects and lists that are open
    key = ""
    last: tuple[str, int] | None = None
    for token in TOKEN.finditer(text):
        mark = token.group()
        match mark:
            case "{" | "[":
                path.append(key)
                key = ""
            case "}" | "]":
                path.pop()
            case ":":
                assert last is not None
                key = last[0]
                found[".".join(part for part in (*path, key) if part)] = last[1]
            case ",":
                key = ""
            case _:
                last = json.loads(mark), text.count("\n", 0, token.start()) + 1
    return found
