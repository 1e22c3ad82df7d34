"""Folders of released models, made by transformers: right ones come in, and the digest says which one it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from stages.errors import UserError
from stages.models import build, hf, release, release_files
from stages.spec.families.llama import LlamaModel
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.resolved_models import Model, Rope
from tests.unit.models.release_folders import (
    LLAMA,
    MOON,
    PLAIN,
    SCALED,
    SCALING,
    TIED,
    edit,
    edits,
    first,
    folder,
    importing,
    pattern,
    taken,
    tensors,
    written,
)
from tests.unit.train import tiny

__all__ = ["folder", "pattern"]

GOOD: dict[str, tuple[dict[str, Any], Callable[[Path], object], LlamaModel | MoonlightModel, Rope]] = {
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


FREQUENCIES = {
    f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.tensor([1.0, 5e5**-0.5]) for layer in (0, 1)
}
HEAD, WORDS = "lm_head.weight", "model.embed_tokens.weight"
# Tensors that transformers does not read, as old versions and other tools write them: what is added, what is refused.
SPARE: dict[str, tuple[LlamaModel, Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], str]] = {
    "frequencies of each layer": (LLAMA, lambda t: {k: one.bfloat16().float() for k, one in FREQUENCIES.items()}, ""),
    "frequencies of another base": (
        LLAMA, lambda t: {k: one**2 for k, one in FREQUENCIES.items()}, r"with other rotary frequencies than the "),
    "the head of a tied model": (TIED, lambda t: {HEAD: t[WORDS].clone()}, ""),
    "another head of a tied model": (
        TIED, lambda t: {HEAD: 2 * t[WORDS]}, r"lm_head.weight: found other numbers than in model.embed_tokens.weight"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPARE)
def test_tensors_that_nothing_reads_are_compared_and_left_out(tmp_path: Path, name: str) -> None:
    model, added, message = SPARE[name]
    folder = written(tmp_path / "given", config={"tie_word_embeddings": model.tied})
    found = load_file(folder / "model.safetensors")
    save_file(found | added(found), folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=message) if message else nullcontext():
        taken(folder, importing(model))


def test_fields_that_published_folders_have_are_of_no_effect(folder: Path) -> None:
    """Of Qwen2.5 and SmolLM2."""
    edit(folder, use_mrope=False, rope_interleaved=False, is_llama_config=True, **{"transformers.js_config": {"a": 1}})
    assert taken(folder, importing()) is not None


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


@pytest.mark.parametrize("how", ["written to", "replaced"])
def test_a_file_that_changes_between_its_digest_and_its_tensors_is_refused(
    folder: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other weights, put there when the digest was compared: they load without an error."""
    stage, load = importing(digest=release_files.digest(folder)), release.load
    path = next(folder.glob("*.safetensors"))
    before = path.stat()

    def changed(module: torch.nn.Module, model: Model, given: Path) -> None:
        if how == "replaced":
            shutil.copy(path, path.with_suffix(".new"))
            path.with_suffix(".new").replace(path)
        else:
            tensors(lambda t: t[first(t)].mul_(2))(folder)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        load(module, model, given)

    monkeypatch.setattr(release, "load", changed)
    with pytest.raises(UserError, match=rf"given: {path.name} changed while it was read"):
        taken(folder, stage)


def test_another_folder_under_the_same_name_is_refused(folder: Path, tmp_path: Path) -> None:
    digest = release_files.digest(folder)
    taken(folder, importing(digest=digest))
    tensors(lambda t: t[first(t)].mul_(2))(folder)
    with pytest.raises(UserError, match=rf"given has [0-9a-f]+; allowed: {digest}, as specs/releases/given.yaml"):
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
