"""A config.json that is not the spec's: each field is refused by file and line, before a tensor is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

from stages.errors import UserError
from tests.unit.models.release_folders import PLAIN, SCALING, SIZES, edit, folder, importing, pattern, taken

__all__ = ["folder", "pattern"]

CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "rope_theta": ({"rope_theta": 10_000.0}, r"rope_theta: found 10000.0; allowed: 500000.0"),
    "no rope_theta": ({"rope_theta": ...}, r"rope_theta: found nothing; allowed: 500000.0"),
    "two rope_thetas": (
        {"rope_parameters": {**SCALING, "rope_theta": 1e4}}, r"rope_parameters.rope_theta: found 10000.0; allowed: 5"),
    "no scaling": ({"rope_scaling": None}, r"rope_scaling: found None; allowed: \{'rope_type': 'llama3'"),
    "yarn": ({"rope_scaling": {"rope_type": "yarn", "factor": 8.0}}, r"rope_scaling.rope_type: found 'yarn'; allowed:"),
    "scaling factor": ({"rope_scaling": {**SCALING, "factor": 32.0}}, r"rope_scaling.factor: found 32.0; allowed: 8.0"),
    "original length": (
        {"rope_scaling": {**SCALING, "original_max_position_embeddings": 128}},
        r"rope_scaling.original_max_position_embeddings: found 128; allowed: 64"),
    "attention scaling": (
        {"rope_scaling": {**SCALING, "attention_factor": 0.5}}, r"rope_scaling.attention_factor: found 0.5; allowed"),
    "rope of a part": ({"partial_rotary_factor": 0.5}, r"partial_rotary_factor: found 0.5; allowed: 1.0"),
    "rope by kind of layer": (
        {"rope_parameters": {"full_attention": SCALING}}, r"rope_parameters.full_attention: found"),
    "rope as a list": ({"rope_scaling": []}, r"rope_scaling: found \[\]; allowed: an object"),
    "a base that transformers 4 does not read": (
        {"rope_scaling": {**SCALING, "rope_theta": 5e5}, "rope_theta": ...},
        r"rope_theta: found nothing; allowed: 500000.0, since transformers 4 reads no"),
    "a form without a base beside one that has it": (
        {"rope_scaling": SCALING, "rope_parameters": {**SCALING, "rope_theta": 5e5}, "rope_theta": ...},
        r"rope_scaling.rope_theta: found nothing; allowed: 500000.0"),
    "a pair of interleaved halves": ({"rope_interleaved": True}, r"rope_interleaved: found True; allowed: False"),
    "half a layer": ({"num_hidden_layers": 2.0}, r"num_hidden_layers: found 2.0; allowed: 2"),
    "rope as a text": ({"rope_scaling": "llama3"}, r"rope_scaling: found 'llama3'; allowed: an object"),
    "norm eps": ({"rms_norm_eps": 1e-6}, r"rms_norm_eps: found 1e-06; allowed: 1e-05"),
    "no norm eps": ({"rms_norm_eps": ...}, r"rms_norm_eps: found nothing; allowed: 1e-05"),
    "activation": ({"hidden_act": "gelu"}, r"hidden_act: found 'gelu'; allowed: 'silu'"),
    "heads": ({"num_attention_heads": 2, "head_dim": 8}, r"num_attention_heads: found 2; allowed: 4"),
    "key heads": ({"num_key_value_heads": 4}, r"num_key_value_heads: found 4; allowed: 2"),
    "key heads left out": ({"num_key_value_heads": ...}, r"num_key_value_heads: found nothing; allowed: 2"),
    "head_dim": ({"head_dim": 8}, r"head_dim: found 8; allowed: 4"),
    "layers": ({"num_hidden_layers": 3}, r"num_hidden_layers: found 3; allowed: 2"),
    "hidden": ({"hidden_size": 32}, r"hidden_size: found 32; allowed: 16"),
    "ffn": ({"intermediate_size": 48}, r"intermediate_size: found 48; allowed: 24"),
    "vocabulary": ({"vocab_size": 64}, r"vocab_size: found 64; allowed: 61"),
    "context": ({"max_position_embeddings": 4096}, r"max_position_embeddings: found 4096; allowed: 512"),
    "tied": ({"tie_word_embeddings": True}, r"tie_word_embeddings: found True; allowed: False"),
    "attention bias": ({"attention_bias": True}, r"attention_bias: found True; allowed: False"),
    "mlp bias": ({"mlp_bias": True}, r"mlp_bias: found True; allowed: False"),
    "a number for a flag": ({"mlp_bias": 0}, r"mlp_bias: found 0; allowed: False"),
    "dropout": ({"attention_dropout": 0.1}, r"attention_dropout: found 0.1; allowed: 0.0"),
    "sliding window": ({"sliding_window": 4096}, r"sliding_window: found 4096; allowed: None"),
    "kinds of layers": (
        {"layer_types": ["full_attention", "sliding_attention"]}, r"layer_types: found .*; allowed: 2 times 'full_att"),
    "quantised": ({"quantization_config": {"bits": 4}}, r"quantization_config: found .*quantised weights"),
    "remote code": ({"auto_map": {"AutoModel": "x.X"}}, r"auto_map: found .*code of a release is never run"),
    "a type": ({"torch_dtype": "float8_e4m3fn"}, r"torch_dtype: found 'float8_e4m3fn'; allowed: float32, bfloat16"),
    "several types": ({"torch_dtype": ["float32"], "dtype": ...}, r"torch_dtype: found \['float32'\]; allowed: fl"),
    "a field that hides": ({"_logit_scale": 3.0}, r"_logit_scale: found 3.0; allowed: fields that are known, which"),
    "two types": ({"dtype": "bfloat16", "torch_dtype": "float32"}, r"torch_dtype: found 'float32'; allowed: 'bfloa"),
    "softcap": ({"final_logit_softcapping": 30.0}, r"final_logit_softcapping: found 30.0; allowed: fields"),
    "scaled logits": ({"logits_scaling": 8.0}, r"logits_scaling: found 8.0; allowed: fields that are known, "),
    "another architecture": (
        {"architectures": ["LlamaForSequenceClassification"]}, r"architectures: found \['LlamaForSeq.*: \['LlamaForC"),
    "no architecture": ({"architectures": ...}, r"architectures: found nothing; allowed: \['LlamaForCausalLM'\]"),
    "another model": ({"model_type": "granite"}, r"model_type: found 'granite'; allowed: 'llama'"),
    "an encoder": ({"is_encoder_decoder": True}, r"is_encoder_decoder: found True; allowed: False"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_that_says_something_else_is_refused_by_file_and_line(folder: Path, name: str) -> None:
    fields, message = CONFIGS[name]
    edit(folder, **fields)
    for path in folder.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:64])  # no tensor can be read: the config is looked at first
    (folder / "model.safetensors.index.json").unlink()
    for path in sorted(folder.glob("model-*"))[1:]:
        path.unlink()
    next(folder.glob("model-*")).rename(folder / "model.safetensors")
    with pytest.raises(UserError, match=rf"config\.json:\d+: {message}") as error:
        taken(folder, importing())
    lines = (folder / "config.json").read_text().splitlines()
    for said in str(error.value).splitlines():
        number, field = int(said.split("config.json:")[1].split(":")[0]), said.split(": ")[1]
        parts = [part for part in field.split(".") if f'"{part}"' in lines[number - 1]]
        assert parts or "found nothing" in said, said


@pytest.mark.parametrize(("config", "kind"), [(MistralConfig, MistralForCausalLM), (Qwen2Config, Qwen2ForCausalLM)])
def test_another_family_of_the_same_sizes_is_refused(tmp_path: Path, config: type, kind: type) -> None:
    kind(config(**SIZES)).save_pretrained(tmp_path / "given")
    with pytest.raises(UserError, match=r"config.json:\d+: model_type: found '(mistral|qwen2)'; allowed: 'llama'"):
        taken(tmp_path / "given", importing(rope=PLAIN))
