"""Which files of a released folder are its weights, and what their tensors must be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.errors import UserError
from stages.models import hf
from stages.models.build import initialise, make
from stages.spec.families.llama import LlamaModel
from stages.spec.resolved_models import Rope

LLAMA = LlamaModel(
    family="llama", layers=2, hidden=16, ffn=24, heads=2, kv_heads=2, head_dim=8, vocab=40, norm_eps=1e-5, tied=False,
    init_std=0.05,
)  # fmt: skip
PLAIN = Rope(base=10_000.0, llama3=None, interpolation=1.0)
INDEX, FIRST, SECOND = (
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
)
HEAD = "lm_head.weight"


def built(seed: int) -> torch.nn.Module:
    module = make(LLAMA, PLAIN, "cpu")
    initialise(module, "llm", LLAMA, seed)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A release in one file."""
    hf.save(built(1), LLAMA, PLAIN, 256, tmp_path)
    return tmp_path


@pytest.fixture
def sharded(folder: Path) -> Path:
    """The same in two files and an index."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    where = {name: (FIRST, SECOND)[number % 2] for number, name in enumerate(names)}
    for file in (FIRST, SECOND):
        save_file({name: tensors[name] for name in names if where[name] == file}, folder / file)
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    (folder / "model.safetensors").unlink()
    return folder


def loaded(folder: Path) -> dict[str, Tensor]:
    module = built(2)
    hf.load(module, folder)
    return dict(module.state_dict())


def refused(folder: Path, match: str) -> None:
    module = built(2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(UserError, match=match):
        hf.load(module, folder)
    assert all(torch.equal(tensor, module.state_dict()[name]) for name, tensor in before.items())


def change(path: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


def test_the_index_is_obeyed_and_a_stale_shard_beside_it_is_named_and_not_read(
    sharded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file({HEAD: torch.zeros(40, 16)}, sharded / "model-00003-of-00003.safetensors")
    wanted = built(1).state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in loaded(sharded).items())
    assert f"{sharded}: not named by {INDEX} and not read: model-00003-of-00003.safetensors" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["model.sync-conflict-1.safetensors", "a.safetensors", FIRST])
def test_without_an_index_the_one_file_is_read_and_a_second_is_named(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file({HEAD: torch.zeros(40, 16)}, folder / name)
    assert torch.equal(loaded(folder)[HEAD], built(1).state_dict()[HEAD])
    assert f"{folder}: beside it and not read: {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["model-00003-of-00003.safetensors", "a.safetensors"])
def test_shards_without_an_index_and_an_unlisted_file_are_refused(sharded: Path, name: str) -> None:
    (sharded / INDEX).unlink()
    assert torch.equal(loaded(sharded)[HEAD], built(1).state_dict()[HEAD]), "they count themselves"
    save_file({HEAD: torch.zeros(40, 16)}, sharded / name)
    refused(sharded, rf"found .*{name}.*no {INDEX} that says which of them are the model")


def test_one_file_of_another_name_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    refused(folder, "found weights.safetensors, and no")


def test_both_one_file_and_an_index_are_refused(sharded: Path) -> None:
    save_file({HEAD: torch.zeros(40, 16)}, sharded / "model.safetensors")
    refused(sharded, "transformers would read the first, others the second")


def test_a_tensor_in_two_files_is_refused(sharded: Path) -> None:
    first = load_file(sharded / FIRST)
    change(sharded / SECOND, lambda tensors: tensors.update({next(iter(first)): next(iter(first.values()))}))
    refused(sharded, f"is also in {FIRST}; allowed: each tensor in one file")


def test_an_index_that_does_not_fit_its_files_is_refused(sharded: Path) -> None:
    index = json.loads((sharded / INDEX).read_bytes())
    wrong = index["weight_map"] | {HEAD: {FIRST: SECOND, SECOND: FIRST}[index["weight_map"][HEAD]]}
    (sharded / INDEX).write_text(json.dumps({"weight_map": wrong}))
    refused(sharded, rf"{INDEX}: says that {HEAD} is in .*found in .*\(1 tensors differ\)")
    (sharded / INDEX).write_text(
        json.dumps({"weight_map": {n: f for n, f in index["weight_map"].items() if n != HEAD}})
    )
    refused(sharded, rf"says that {HEAD} is in no file")
    (sharded / INDEX).write_text(json.dumps({"weight_map": index["weight_map"] | {"x": "other.safetensors"}}))
    refused(sharded, "names other.safetensors, not there")
    (sharded / INDEX).write_text(json.dumps({"weight_map": index["weight_map"] | {"x": "../x.safetensors"}}))
    refused(sharded, r"weight_map\.x: expected text that matches")
    (sharded / INDEX).write_text("[" * 100_000)
    refused(sharded, "nested more than 64 deep")


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_folder_or_a_pipe_in_a_files_place_is_one_line(folder: Path, file: str) -> None:
    (folder / file).unlink()
    (folder / file).mkdir()
    refused(folder, rf"{file}: .*not a regular file")
    (folder / file).rmdir()
    os.mkfifo(folder / file)
    refused(folder, rf"{file}: .*not a regular file")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.update({name: torch.full_like(one, torch.nan) for name, one in t.items()}), "not finite: .* more"),
        (lambda t: t[HEAD].view(-1)[7:8].fill_(-torch.inf), f"not finite: {HEAD}"),
        (lambda t: t.update({name: torch.zeros_like(one) for name, one in t.items()}), "all zeros: .* more"),
        (lambda t: t[HEAD].fill_(0), f"all zeros: {HEAD}"),
        (lambda t: t.update({HEAD: t[HEAD].bool()}), f"{HEAD} is bool; allowed: float32, as config.json declares"),
        (lambda t: t.update({HEAD: t[HEAD].to(torch.int8)}), f"{HEAD} is int8"),
        (lambda t: t.update({HEAD: t[HEAD].half()}), f"{HEAD} is float16; allowed: float32, as config.json declares"),
    ],
    ids=["all nan", "one infinity", "all zeros", "a blank head", "bool", "integers", "a shorter type"],
)
def test_tensors_that_no_model_has_are_refused(
    folder: Path, edit: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    change(folder / "model.safetensors", edit)
    refused(folder, message)


@pytest.mark.parametrize("field", ["dtype", "torch_dtype"])
def test_a_release_in_the_type_that_it_declares_is_read_its_vectors_may_be_longer(folder: Path, field: str) -> None:
    config = json.loads((folder / "config.json").read_bytes())
    config = {name: value for name, value in config.items() if name not in ("dtype", "stages")} | {field: "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    change(
        folder / "model.safetensors", lambda t: t.update({n: one.bfloat16() for n, one in t.items() if one.ndim > 1})
    )
    assert loaded(folder)[HEAD].dtype == torch.float32
    change(folder / "model.safetensors", lambda t: t.update({HEAD: t[HEAD].float()}))
    refused(folder, f"{HEAD} is float32; allowed: bfloat16, as config.json declares")
    (folder / "config.json").write_text(json.dumps(config | {field: "int4"}))
    refused(folder, "dtype: found 'int4'; allowed: float32")


def test_only_the_files_of_a_list_are_read_where_there_is_one(folder: Path) -> None:
    save_file({HEAD: torch.zeros(40, 16)}, folder / "model.sync-conflict-1.safetensors")
    module = built(2)
    hf.load(module, folder, [folder / "model.safetensors"])
    assert torch.equal(module.state_dict()[HEAD], built(1).state_dict()[HEAD])
