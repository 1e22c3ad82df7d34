"""Import, then export: every tensor of somebody's folder comes out byte for byte, in every family, fp32 and bf16."""

from __future__ import annotations

import json
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM

from stages.commands.finished import finished as open_finished
from stages.export import folder, names, tokenizer
from stages.export.result import Result
from stages.export.tensors import ALWAYS_FP32, Dtype
from stages.models import build, hf, release, release_config, release_files
from stages.spec.families import FAMILIES
from stages.spec.language_model import LanguageModel
from stages.store import json_file, manifest
from tests.parity.test_hf import OURO
from tests.unit.export.test_families import CONTEXT, MODELS, ROPES, VOCAB, exported

ROPE = ROPES["plain"]
SHARD = 20_000  # bytes: several files of each model
TORCH: dict[Dtype, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
SMALL = {**MODELS, "ouro": OURO}


def tensors(place: Path) -> dict[str, Tensor]:
    """All tensors of a folder's files, as they are stored."""
    found: dict[str, Tensor] = {}
    for path in sorted(place.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    return found


def released(result: Result, cfg: LanguageModel, dtype: Dtype, place: Path) -> Path:
    """A folder of random weights in files of a small size: as transformers saves it, or ours, where it has no class."""
    exported(result, cfg, ROPE, place)
    ours, theirs = place / "exports" / cfg.family, place / "releases"
    if cfg.family == "ouro":
        _without_code(ours)
        outgoing(result, cfg, ours, dtype, place / "again", theirs)
        _without_code(theirs)
        return theirs
    model = AutoModelForCausalLM.from_pretrained(ours, dtype=TORCH[dtype])
    model.save_pretrained(theirs, max_shard_size=SHARD)
    return theirs


def _without_code(place: Path) -> None:
    """As an import asks for it: code of a release is never run."""
    config = json.loads((place / "config.json").read_text())
    del config["auto_map"]
    (place / "config.json").write_text(json.dumps(config))


def outgoing(result: Result, cfg: LanguageModel, given: Path, dtype: Dtype, made: Path, to: Path) -> None:
    """Import a folder as `stages run` does, and export what came in."""
    stage = result.stage.model_copy(update={"modules": {"llm": cfg}, "rope": ROPE, "max_context": CONTEXT})
    release_files.read_files(given)
    release_config.check(stage, "llm", given, None)
    module = build.make(cfg, ROPE, "cpu")
    release.load(module, cfg, given)
    hf.save(module, cfg, ROPE, CONTEXT, made / "model/llm")
    record = result.record.model_copy(update={"shards": manifest.shards(made, ("model",))})
    json_file.write(made / manifest.NAME, record.model_dump(mode="json"))
    kept = replace(result, folder=made, stage=stage, record=record)
    folder.write(kept, names.published(kept), tokenizer.of(kept), dtype, SHARD, {}, to)


def test_every_family_is_here() -> None:
    assert SMALL.keys() == FAMILIES.keys()


@pytest.mark.parametrize("dtype", TORCH)
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_what_came_in_goes_out_byte_for_byte(family: str, dtype: Dtype, finished: Path, tmp_path: Path) -> None:
    with chdir(finished):
        result, _ = open_finished("plain/base", "mini")
    cfg = SMALL[family].model_copy(update={"vocab": VOCAB})
    given = released(result, cfg, dtype, tmp_path)
    outgoing(result, cfg, given, dtype, tmp_path / "results/imported", tmp_path / "out")
    before, after = tensors(given), tensors(tmp_path / "out")
    assert len(list(given.glob("*.safetensors"))) > 1
    assert TORCH[dtype] in {tensor.dtype for tensor in before.values()}
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        if name.endswith(ALWAYS_FP32):  # the router's bias goes out in fp32 whatever it came in (docs/exporting.md)
            assert torch.equal(tensor.float(), after[name]), name
            continue
        assert (tensor.dtype, tensor.shape) == (after[name].dtype, after[name].shape), name
        assert torch.equal(tensor.view(torch.uint8), after[name].view(torch.uint8)), name
