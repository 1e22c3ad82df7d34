"""A released folder whose files are not those of a model: each is refused by its own line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.errors import UserError
from stages.models import release_files
from tests.unit.models.release_folders import first, folder, importing, pattern, taken, tensors, written

__all__ = ["folder", "pattern"]


def index(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        path = folder / "model.safetensors.index.json"
        found = json.loads(path.read_text())
        change(found["weight_map"])
        path.write_text(json.dumps(found))

    return apply


def pipe(name: str) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        path = next(iter(sorted(folder.glob(name))))
        path.unlink()
        os.mkfifo(path)

    return apply


def link_out(name: str) -> Callable[[Path], object]:
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


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')


def only_gguf(folder: Path) -> None:
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    (folder / "model-q4.gguf").write_bytes(b"GGUF")


def gguf_alone(folder: Path) -> None:
    only_gguf(folder)
    (folder / "config.json").unlink()


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
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
    "an adapter beside the weights": (adapter, r"adapter_config.json: an adapter \(LoRA\), which transformers adds"),
    "weights of llama.cpp": (only_gguf, r"found model-q4.gguf, of llama.cpp; allowed: weights in \*.safetensors"),
    "one file of llama.cpp": (gguf_alone, r"config.json: not there \(found model-q4.gguf\), so this is not"),
    "a config by another name": (
        lambda f: (f / "config.json").rename(f / "Config.json"), r"config.json: not there \(found Config.json\)"),
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
        index(lambda found: found.update(x="a\nb.safetensors")), r"index.json: weight_map.x: expected text that mat"),
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
def test_the_one_file_of_weights_is_opened_only_if_it_is_one(tmp_path: Path, make: Callable[[Path], object]) -> None:
    folder = written(tmp_path / "given")
    (folder / "model.safetensors").unlink()
    make(folder / "model.safetensors")
    with pytest.raises(UserError, match=r"model.safetensors: not a regular file"):
        release_files.digest(folder)
