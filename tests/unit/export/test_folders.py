"""An export is a folder that other people's programs read: silently, with our logits, our ids, our greedy text."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.data.document import IM_START
from stages.models import hf, hf_config, hf_files
from stages.models.build import make
from tests.unit.export import others, ours, reader
from tests.unit.export.conftest import Export

TEXT_MODELS = {"plain/tuned": "LlamaForCausalLM", "toy/text": "DeepseekV3ForCausalLM"}


@pytest.mark.parametrize("ref", TEXT_MODELS)
def test_transformers_reads_it_without_a_word_and_computes_the_same(ref: str, finished: Path, exported: Export) -> None:
    found = reader.read(exported(ref), remote_code=False)
    assert (found["class"], found["dtype"]) == (TEXT_MODELS[ref], "torch.float32")
    others.agrees(finished, ref, found)


@pytest.mark.slow
@pytest.mark.parametrize("ref", TEXT_MODELS)
def test_transformers_5_does_too(ref: str, finished: Path, exported: Export, tmp_path: Path) -> None:
    found = others.read(others.transformers_5(), exported(ref), tmp_path)
    assert found["version"].startswith("5.")
    others.agrees(finished, ref, found)


def test_in_bf16_every_weight_is_the_trained_one_rounded(finished: Path, exported: Export) -> None:
    trained = load_file(finished / "results/mini/toy/text/model/llm/model.safetensors")
    folder = exported("toy/text", "bf16", "20KB")
    parts = sorted(folder.glob("*.safetensors"))
    assert len(parts) > 3
    found = {name: tensor for part in parts for name, tensor in load_file(part).items()}
    assert found.keys() == trained.keys()
    for name, tensor in trained.items():
        wanted = tensor if name.endswith("e_score_correction_bias") else tensor.bfloat16()
        assert torch.equal(found[name], wanted), name
        assert found[name].dtype == wanted.dtype
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    assert reader.read(folder, remote_code=False)["dtype"] == "torch.bfloat16"


def test_files_are_as_large_as_stated_and_the_index_names_every_tensor(exported: Export) -> None:
    folder = exported("plain/tuned", "fp32", "20KB")
    index = json.loads((folder / hf_files.INDEX).read_text())
    found = {path.name: load_file(path) for path in folder.glob("*.safetensors")}
    assert sorted(found) == [f"model-{n:05d}-of-{len(found):05d}.safetensors" for n in range(1, len(found) + 1)]
    assert index["weight_map"] == {name: file for file, part in found.items() for name in part}
    sizes = {file: sum(tensor.nbytes for tensor in part.values()) for file, part in found.items()}
    assert index["metadata"]["total_size"] == sum(sizes.values())
    assert all(size <= 20_000 or len(found[file]) == 1 for file, size in sizes.items())


def test_sha256sum_agrees_with_the_digests(exported: Export) -> None:
    folder = exported("plain/tuned")
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    assert sorted(line.split(":")[0] for line in checked.splitlines()) == sorted(
        path.name for path in folder.iterdir() if path.name != "SHA256SUMS"
    )


def test_a_chat_is_cut_into_the_tokens_of_a_training_document(finished: Path, exported: Export) -> None:
    from transformers import AutoTokenizer

    from stages.data.document import chat, text_part
    from stages.data.tokens.encode import encode

    tokens = ours.tokenizer(finished)
    turns = [("system", "Be brief."), ("user", "What is 7 + 5?\n\nSay it."), ("assistant", "12, of course.")]
    document = chat("one", [(role, text_part(text)) for role, text in turns], heldout=False)
    trained = encode([document], tokens, cell=None).tokens.tolist()
    messages = [{"role": role, "content": text} for role, text in turns]
    theirs = AutoTokenizer.from_pretrained(exported("plain/tuned"))
    assert theirs.apply_chat_template(messages, return_dict=False) == trained[:-1]  # a document ends with EOS
    asked = theirs.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
    assert trained[: len(asked)] == asked
    assert asked.count(IM_START) == 3


def test_special_ids_are_the_tokenizers(exported: Export) -> None:
    folder = exported("plain/tuned")
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation == {"bos_token_id": 1, "eos_token_id": [5, 2], "pad_token_id": 0, "do_sample": False}
    config = json.loads((folder / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (1, 2, 0)


@pytest.mark.parametrize("ref", TEXT_MODELS)
def test_it_comes_back_in_with_every_bit(ref: str, finished: Path, exported: Export) -> None:
    folder = exported(ref, "fp32", "20KB")
    config = hf_config.read(folder)
    again = make(config.model, config.rope, "cpu")
    hf.load(again, folder)
    trained = ours.module(finished, ref)
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


@pytest.mark.parametrize("ref", ["plain/tuned", "toy/joint"])
def test_the_same_export_again_has_the_same_bytes(ref: str, exported: Export, tmp_path: Path) -> None:
    first, again = (exported(ref, "bf16", "20KB", folder=tmp_path / name / "export") for name in ("first", "again"))
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    assert all((first / name).read_bytes() == (again / name).read_bytes() for name in names)


def test_a_kept_stage_goes_out_with_its_parents_weights(exported: Export, tmp_path: Path) -> None:
    kept, text = (exported(f"toy/{name}", folder=tmp_path / name) for name in ("kept", "text"))
    assert (kept / "model.safetensors").read_bytes() == (text / "model.safetensors").read_bytes()
