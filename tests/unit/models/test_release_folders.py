"""Folders of released models, made by transformers: right ones come in, each wrong one is refused by its own line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from stages.engines import Inputs
from stages.engines.received import receive
from stages.errors import UserError
from stages.models import build, hf, release_files
from stages.spec.families.llama import LlamaModel
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.resolved import Init, Stage
from stages.spec.resolved_models import Llama3Scaling, Rope
from tests.unit.train import tiny

LLAMA = LlamaModel(
    family="llama", layers=2, hidden=16, ffn=24, heads=4, kv_heads=2, head_dim=4, vocab=61, norm_eps=1e-5, tied=False,
    init_std=0.02,
)  # fmt: skip
TIED = LLAMA.model_copy(update={"tied": True})
MOON = MoonlightModel(
    family="moonlight", layers=2, dense_layers=1, hidden=16, ffn=24, heads=2, vocab=61, kv_lora_rank=8, qk_nope_dim=4,
    qk_rope_dim=4, v_head_dim=4, experts=4, active_experts=2, shared_experts=1, expert_ffn=8, routed_scale=2.0,
    norm_eps=1e-5, tied=False, init_std=0.02,
)  # fmt: skip
PLAIN = Rope(base=500_000.0, llama3=None, interpolation=1.0)
SCALED = Rope(base=500_000.0, llama3=Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=64), interpolation=1.0)
SCALING = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 64}  # fmt: skip
SIZES: dict[str, Any] = {
    "vocab_size": 61, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
}  # fmt: skip


def importing(model: LlamaModel | MoonlightModel = LLAMA, rope: Rope = SCALED, digest: str | None = None) -> Stage:
    architecture = "LlamaForCausalLM" if isinstance(model, LlamaModel) else "DeepseekV3ForCausalLM"
    init = Init(
        weights="release", parent=None, release="given", optimizer="reset", layer_map=None, stand_in=False,
        digest=digest, architecture=architecture,
    )  # fmt: skip
    changes = {"kind": "import", "phases": (), "init": {"llm": init}, "rope": rope, "modules": {"llm": model},
               "max_context": 512}  # fmt: skip
    return tiny.make("next_token").model_copy(update=changes)


def taken(folder: Path, stage: Stage) -> torch.nn.Module:
    inputs = Inputs(**{**tiny.inputs(folder.parent).__dict__, "releases": {"given": folder}})
    return receive(stage, inputs, torch.device("cpu"))["llm"]


def written(folder: Path, model: str = "llama", **how: Any) -> Path:
    """A folder as transformers writes it."""
    torch.manual_seed(0)
    if model == "llama":
        config = LlamaConfig(**{**SIZES, "rope_scaling": SCALING, **how.pop("config", {})})
        made = LlamaForCausalLM(config)
    else:
        config = DeepseekV3Config(
            vocab_size=61, hidden_size=16, intermediate_size=24, moe_intermediate_size=8, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, n_shared_experts=1, n_routed_experts=4,
            routed_scaling_factor=2.0,
            kv_lora_rank=8, q_lora_rank=None, qk_rope_head_dim=4, v_head_dim=4, qk_nope_head_dim=4, n_group=1,
            topk_group=1, num_experts_per_tok=2, first_k_dense_replace=1, max_position_embeddings=512,
            rms_norm_eps=1e-5, rope_theta=500_000.0,
        )  # fmt: skip
        made = AutoModelForCausalLM.from_config(config)
    made.to(how.pop("dtype", torch.float32)).save_pretrained(folder, **how)
    return folder


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good folder of two shards with an index, copied for each case."""
    return written(tmp_path_factory.mktemp("pattern") / "given", max_shard_size="12KB")


@pytest.fixture
def folder(pattern: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pattern, tmp_path / "given"))


def edit(folder: Path, **fields: Any) -> None:
    """Set fields of config.json; ... takes one away."""
    path = folder / "config.json"
    found = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not ...}, indent=2))


def edits(**fields: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder, **fields)


GOOD: dict[str, tuple[dict[str, Any], Callable[[Path], None], LlamaModel | MoonlightModel, Rope]] = {
    "in shards": ({"max_shard_size": "12KB"}, lambda folder: None, LLAMA, SCALED),
    "in one file": ({}, lambda folder: None, LLAMA, SCALED),
    "in bf16": ({"dtype": torch.bfloat16}, lambda folder: None, LLAMA, SCALED),
    "tied": ({"config": {"tie_word_embeddings": True}}, lambda folder: None, TIED, SCALED),
    "without scaling": ({"config": {"rope_scaling": None}}, lambda folder: None, LLAMA, PLAIN),
    "as transformers 5 writes rope": (
        {}, edits(rope_scaling=..., rope_theta=..., rope_parameters={**SCALING, "rope_theta": 500_000.0}),
        LLAMA, SCALED),
    "as transformers 5 writes no scaling": (
        {"config": {"rope_scaling": None}},
        edits(rope_scaling=..., rope_theta=..., rope_parameters={"rope_type": "default", "rope_theta": 500_000}),
        LLAMA, PLAIN),
    "with dtype for torch_dtype": ({}, edits(torch_dtype=..., dtype="float32"), LLAMA, SCALED),
    "an older form of the kind": (
        {}, edits(rope_scaling={**{k: v for k, v in SCALING.items() if k != "rope_type"}, "type": "llama3"}),
        LLAMA, SCALED),
    "fields left out that have their default": (
        {}, edits(hidden_act=..., attention_bias=..., mlp_bias=..., head_dim=..., tie_word_embeddings=...,
                  attention_dropout=...), LLAMA, SCALED),
    "with pickles and code beside it": (
        {}, lambda folder: [(folder / name).write_bytes(b"\x80") for name in ("pytorch_model.bin", "modeling_x.py")],
        LLAMA, SCALED),
    "DeepSeek-V3": ({"model": "deepseek_v3"}, lambda folder: None, MOON, PLAIN),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_right_folder_comes_in_with_all_its_weights(tmp_path: Path, name: str) -> None:
    how, change, model, rope = GOOD[name]
    folder = written(tmp_path / "given", **how)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    change(folder)
    ours = taken(folder, importing(model, rope, release_files.digest(folder))).eval()
    tokens = torch.arange(24)[None]
    with torch.no_grad():
        logits = ours.logits(ours(tokens, torch.arange(24)[None], None, None))
        assert (logits - theirs(tokens).logits).abs().max() < 1e-4


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


def tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = sorted(folder.glob("model-*.safetensors"))[0]
        found = load_file(path)
        change(found)
        save_file(found, path, metadata={"format": "pt"})

    return apply


def first(found: dict[str, torch.Tensor]) -> str:
    return next(name for name, tensor in sorted(found.items()) if tensor.ndim > 1)


def index(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "model.safetensors.index.json"
        found = json.loads(path.read_text())
        change(found["weight_map"])
        path.write_text(json.dumps(found))

    return apply


def pipe(name: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = next(iter(sorted(folder.glob(name))))
        path.unlink()
        os.mkfifo(path)

    return apply


def link_out(name: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = next(iter(sorted(folder.glob(name))))
        path.rename(folder.parent / path.name)
        path.symlink_to(folder.parent / path.name)

    return apply


def only_pickles(folder: Path) -> None:
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def nowhere(folder: Path) -> None:
    shutil.rmtree(folder)


def another_shape(found: dict[str, torch.Tensor]) -> None:
    found[first(found)] = found[first(found)][:, :-1].contiguous()


FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no folder": (nowhere, r"given: no folder"),
    "no config": (lambda f: (f / "config.json").unlink(), r"config.json: not there, so this is not"),
    "a pipe for a config": (pipe("config.json"), r"config.json: not a regular file"),
    "a config that is none": (lambda f: (f / "config.json").write_text("{"), r"config.json: is not JSON"),
    "a list for a config": (lambda f: (f / "config.json").write_text("[]"), r"config.json:1: found a list"),
    "not a number": (lambda f: (f / "config.json").write_text('{"a": NaN}'), r"config.json"),
    "a config behind a link": (link_out("config.json"), r"config.json: a link that leads out of .*given, to "),
    "weights behind a link": (link_out("model-*"), r"safetensors: a link that leads out of .*given, to "),
    "a link to nowhere": (
        lambda f: (f / "model-x.safetensors").symlink_to(f / "nothing"), r"x.safetensors: a link that leads nowhere"),
    "a pipe for weights": (pipe("model-*"), r"safetensors: not a regular file"),
    "pickles alone": (only_pickles, r"found pytorch_model.bin, which would have to be unpickled; allowed"),
    "a shard less": (lambda f: sorted(f.glob("model-*"))[1].unlink(), r"index.json names model-.*, not there"),
    "a shard cut short": (
        lambda f: [p.write_bytes(p.read_bytes()[:40]) for p in f.glob("model-*-of-*")], r"damaged or not a safe"),
    "an index with a way out": (
        index(lambda found: found.update({"model.norm.weight": "../model.safetensors"})), r"index.json"),
    "an index that is wrong": (index(lambda found: found.popitem()), r"says that .* is in no file, found in model-"),
    "two models": (
        lambda f: shutil.copy(sorted(f.glob("model-*"))[0], f / "model.safetensors"), r"found model.safetensors and"),
    "a tensor more": (
        lambda f: (tensors(lambda t: t.update(extra=torch.ones(2)))(f),
                   index(lambda m: m.update(extra=sorted(f.glob("model-*-of-*"))[0].name))(f)), r"unexpected: extra"),
    "not finite": (tensors(lambda t: t[first(t)].view(-1)[:1].fill_(float("nan"))), r"tensors not finite: "),
    "infinite": (tensors(lambda t: t[first(t)].view(-1)[:1].fill_(float("inf"))), r"tensors not finite: "),
    "all zeros": (tensors(lambda t: t[first(t)].zero_()), r"tensors all zeros: "),
    "zeros from some row on": (
        tensors(lambda t: t[first(t)][len(t[first(t)]) // 2 :].zero_()), r"tensors with zeros in a quarter of their r"),
    "a norm of zeros": (
        tensors(lambda t: t[next(n for n in t if "norm" in n)].zero_()), r"tensors all zeros: model.*norm.weight"),
    "a line break in the index": (
        index(lambda found: found.update(x="a\nb.safetensors")), r"index.json: weight_map.x: String should match"),
    "another shape": (tensors(another_shape), r"tensors of another shape: .* instead of "),
    "integers": (tensors(lambda t: t.update({first(t): t[first(t)].to(torch.int8)})), r"is int8; allowed: float32"),
    "another type than declared": (tensors(lambda t: t.update({first(t): t[first(t)].half()})), r"is float16; all"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_folder_with_other_files_is_refused_by_its_own_line(folder: Path, name: str) -> None:
    change, message = FILES[name]
    change(folder)
    with pytest.raises(UserError, match=message):
        taken(folder, importing())


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_the_one_file_of_weights_is_opened_only_if_it_is_one(tmp_path: Path, make: Callable[[Path], None]) -> None:
    folder = written(tmp_path / "given")
    (folder / "model.safetensors").unlink()
    make(folder / "model.safetensors")
    with pytest.raises(UserError, match=r"model.safetensors: not a regular file"):
        release_files.digest(folder)


def test_a_few_words_without_a_row_are_right(tmp_path: Path) -> None:
    """Rows of words that no text had, and of padding, are zeros in some releases."""
    folder = written(tmp_path / "given")
    found = load_file(folder / "model.safetensors")
    found["model.embed_tokens.weight"][50:].zero_()
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})
    assert taken(folder, importing()) is not None


def test_the_hubs_cache_links_to_its_own_blobs(folder: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--x--y" / "snapshots" / "abc", tmp_path / "models--x--y" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(blobs / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    assert taken(snapshot, importing(digest=release_files.digest(snapshot))) is not None


def test_another_folder_under_the_same_name_is_refused(folder: Path, tmp_path: Path) -> None:
    digest = release_files.digest(folder)
    taken(folder, importing(digest=digest))
    tensors(lambda t: t[first(t)].mul_(2))(folder)
    with pytest.raises(UserError, match=rf"given holds [0-9a-f]+; allowed: {digest}, as specs/releases/given.yaml"):
        taken(folder, importing(digest=digest))


def test_the_digest_covers_config_index_and_weights_and_nothing_else(folder: Path) -> None:
    digests = [release_files.digest(folder)]
    (folder / "generation_config.json").write_text("{}")
    (folder / "README.md").write_text("x")
    assert release_files.digest(folder) == digests[0]
    edit(folder, transformers_version="9")
    digests.append(release_files.digest(folder))
    tensors(lambda t: t[first(t)].mul_(2))(folder)
    digests.append(release_files.digest(folder))
    assert len(set(digests)) == 3


OWN = {
    "llama": (tiny.LLAMA, "LlamaForCausalLM"),
    "moonlight": (tiny.MOONLIGHT, "DeepseekV3ForCausalLM"),
    "ouro": (tiny.OURO, "OuroForCausalLM"),
}


@pytest.mark.parametrize("family", OWN)
@pytest.mark.parametrize(
    "rope", [PLAIN, SCALED, SCALED.model_copy(update={"interpolation": 4.0})], ids=["", "8", "8x4"]
)
def test_what_is_exported_here_comes_in_as_a_release(tmp_path: Path, family: str, rope: Rope) -> None:
    model, architecture = OWN[family]
    made = build.make(model, rope, "cpu")
    build.initialise(made, "llm", model, 3)
    hf.save(made, model, rope, 512, tmp_path / "given", 3 if family == "ouro" else None)
    stage = importing(rope=rope)
    init = stage.init["llm"].model_copy(update={"architecture": architecture})
    stage = stage.model_copy(update={"modules": {"llm": model}, "init": {"llm": init}})
    found = taken(tmp_path / "given", stage).state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in made.state_dict().items())
