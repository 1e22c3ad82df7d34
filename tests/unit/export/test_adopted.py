"""Somebody's Qwen3 with its own tokenizer: imported, trained, tuned, exported, answering in plain transformers."""

from __future__ import annotations

import json
import sys
from contextlib import chdir
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from stages.commands.export import export
from stages.commands.generate import generate
from stages.data import tokenizer_declared
from stages.data.tokenizer_files import load
from stages.engines import received
from stages.models import build
from stages.store import stage_record
from tests.unit.data.published import CHATML
from tests.unit.export import adopted, others, ours, reader

INTERPRETERS = {"transformers 4": lambda: Path(sys.executable), "transformers 5": others.transformers_5}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adopted.write(tmp_path_factory.mktemp("adopted"))


def exported(root: Path, ref: str, folder: Path) -> Path:
    with chdir(root):
        export(ref, folder, "mini", "fp32", "5GB", None, None)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("which", INTERPRETERS)
def test_it_answers_in_plain_transformers(
    which: str, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = others.read(INTERPRETERS[which](), exported(project, "mine/given", tmp_path / "given"), tmp_path)
    assert found["version"].startswith(which[-1])
    assert found["class"] == "Qwen3ForCausalLM"
    assert found["said"] == []
    mine = tokenizer_declared.declared(project, load(project, "mine")).open()
    assert found["bare"] == mine.encode(reader.TEXT)
    assert mine.template is not None
    [asked] = mine.encode_rendered([mine.template.text(reader.CHAT, None, prompt=True)])
    assert found["chat"] == asked
    folder = project / "results/mini/mine/given"
    model = build.build(stage_record.read(folder))["llm"].eval()
    received.load(model, folder, "llm")
    others.close(found["logits"], ours.logits(model, found["prompt"]))
    with chdir(project):
        capsys.readouterr()
        generate("mine/given", reader.TEXT, "mini", False, reader.NEW, None, None, None)
    continued = found["written"][0][len(found["prompt"]) :]
    words = [one for one in continued if one not in (mine.roles.eos, mine.roles.turn_end)]
    assert capsys.readouterr().out == mine.decode(words) + "\n"


def test_its_tokenizer_goes_along_byte_for_byte(project: Path, tmp_path: Path) -> None:
    folder = exported(project, "mine/tuned", tmp_path / "tuned")
    assert (folder / "tokenizer.json").read_bytes() == (project / "tokenizers/mine/tokenizer.json").read_bytes()
    assert (folder / "chat_template.jinja").read_text() == CHATML
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert (config["bos_token"], config["eos_token"], config["pad_token"]) == ("<s>", "</s>", "</s>")
    mine = tokenizer_declared.declared(project, load(project, "mine")).open()
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [mine.roles.turn_end, mine.roles.eos]


def test_the_release_comes_out_as_it_came_in(project: Path, tmp_path: Path) -> None:
    folder = exported(project, "mine/base", tmp_path / "base")
    given, left = (load_file(place / "model.safetensors") for place in (project / "releases/qwen", folder))
    assert given.keys() == left.keys()
    assert all(torch.equal(given[name], left[name]) for name in given)


def test_the_card_names_the_release_and_its_licence(project: Path, tmp_path: Path) -> None:
    folder = exported(project, "mine/given", tmp_path / "given")
    head = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    assert (head["license"], head["base_model"]) == ("apache-2.0", ["somebody/qwen"])
    assert head["datasets"] == ["chats", "notes"]
