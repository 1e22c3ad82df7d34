"""Every family of language models: random weights exported, and read by transformers 4 and 5 without a word."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest
import torch
from torch import nn

import tests.families
from stages.commands.finished import finished as open_finished
from stages.data.document import BOS
from stages.export import folder, names, tokenizer
from stages.export.result import Result
from stages.models import build, hf
from stages.spec.families import FAMILIES
from stages.spec.language_model import LanguageModel
from stages.spec.resolved_models import Rope
from stages.store import json_file, manifest
from tests.families import test_yarn
from tests.parity import test_hf
from tests.unit.export import others, ours, reader

YARN = test_yarn.PAPER.model_copy(update={"original": 64})  # 64 x 4 is the declared context
ROPES = {  # the second makes up for what 5.13 to 5.17 read of OLMo 3's base
    "plain": Rope(base=500_000.0, llama3=None, interpolation=1.0),
    "yarn": Rope(base=100.0, llama3=None, interpolation=1.0, yarn=YARN),
}
CONTEXT, VOCAB = 256, 300  # tokens of the declared context, and of the local tokenizer
INTERPRETERS = {"transformers 4": lambda: Path(sys.executable), "transformers 5": others.transformers_5}

DAILY = (("transformers 4", "plain"), ("transformers 5", "yarn"))


def _models() -> Iterator[LanguageModel]:
    """A small model of each family, from the families' own tests."""
    yield from (test_hf.LLAMA, test_hf.MOONLIGHT)
    for module in sorted(one.name for one in iter_modules(tests.families.__path__)):
        if module.startswith("test_"):
            for one in vars(import_module(f"tests.families.{module}")).values():
                model = getattr(one, "MODEL", None)
                if isinstance(one, type) and isinstance(model, LanguageModel):
                    yield model


MODELS = {cfg.family: cfg for cfg in reversed(list(_models()))}  # the first of each family


def exported(result: Result, cfg: LanguageModel, rope: Rope, place: Path) -> nn.Module:
    """Write an export of random weights below `place`, and return them."""
    cfg = cfg.model_copy(update={"vocab": VOCAB})
    module = build.make(cfg, rope, "cpu").eval()
    build.initialise(module, "llm", cfg, seed=1)
    made = place / "results" / cfg.family
    hf.save(module, cfg, rope, CONTEXT, made / "model/llm")
    record = result.record.model_copy(update={"shards": manifest.shards(made, ("model",))})
    json_file.write(made / manifest.NAME, record.model_dump(mode="json"))
    stage = result.stage.model_copy(update={"modules": {"llm": cfg}, "rope": rope, "max_context": CONTEXT})
    result = replace(result, folder=made, stage=stage, record=record)
    tokens, published = tokenizer.of(result), names.published(result)
    folder.write(result, published, tokens, "fp32", 10**9, {}, place / "exports" / cfg.family)
    return module


def test_every_family_is_here_or_carries_its_own_code() -> None:
    assert MODELS.keys() | {"ouro"} == FAMILIES.keys()


def _read_otherwise(python: Path, positions: str) -> set[str]:
    """Families whose scaled positions a version of transformers refuses, or computes otherwise (docs/exporting.md)."""
    words = [str(python), "-c", "from importlib.metadata import version as v; print(v('transformers'))"]
    found = tuple(map(int, subprocess.run(words, check=True, capture_output=True, text=True).stdout.split(".")[:2]))
    if positions == "plain":
        return set()
    return {"olmo2"} if found < (5, 0) else {"olmo3"} if found < (5, 13) else set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "positions"),
    [
        pytest.param(which, positions, marks=() if (which, positions) in DAILY else pytest.mark.nightly)
        for which in INTERPRETERS
        for positions in ROPES
    ],
)
def test_transformers_reads_every_family(which: str, positions: str, finished: Path, tmp_path: Path) -> None:
    with chdir(finished):
        result, _ = open_finished("plain/base", "mini")
    left = {"ouro"} | _read_otherwise(INTERPRETERS[which](), positions)
    rope = ROPES[positions]
    modules = {name: exported(result, cfg, rope, tmp_path) for name, cfg in MODELS.items() if name not in left}
    shutil.rmtree(tmp_path / "results")
    every = others.read(INTERPRETERS[which](), tmp_path / "exports", tmp_path, "--all")
    assert every.keys() == modules.keys()
    bare = ours.tokenizer(finished).encode(reader.TEXT)
    for name, found in every.items():
        assert found["said"] == [], name
        assert found["class"] == FAMILIES[name].PUBLISHED.architecture
        assert found["prompt"] == [BOS, *bare]
        others.close(found["logits"], ours.logits(modules[name], found["prompt"]))
        row = list(found["prompt"])
        for token in found["written"][0][len(row) :]:
            assert int(ours.logits(modules[name], row)[-1].argmax()) == token, name
            row.append(token)
        assert torch.tensor(found["logits"]).abs().max() > 0
