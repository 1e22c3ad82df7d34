"""Somebody's Qwen3 with its own tokenizer: imported, trained, tuned, exported, answering in plain transformers."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import chdir
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from stages.commands.export import export
from stages.commands.generate import generate
from stages.commands.run import run_stage
from stages.data.tokens import tokenizer_declared, tokenizer_of_release
from stages.data.tokens.tokenizer_files import load
from stages.engines import received
from stages.errors import UserError
from stages.evals.heldout import Heldout
from stages.models import build
from stages.spec.project import Project
from stages.store import stage_record
from stages.store.layout import Layout
from stages.sync import graph, verdicts
from tests.edits import edit
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


def test_what_came_in_is_evaluated_with_the_loss_that_transformers_has(project: Path) -> None:
    from transformers import AutoModelForCausalLM

    heldout, record = Heldout(project / "results/mini/data"), stage_record.read(project / "results/mini/mine/base")
    theirs, total, count = AutoModelForCausalLM.from_pretrained(project / "releases/qwen", dtype="float32"), 0.0, 0
    rows = heldout.rows("notes", 64, record.evaluation.samples, document_mask=True)
    for row in rows:
        for number in range(row.segments.max() + 1):  # each document by itself
            tokens, labels = (torch.from_numpy(of[row.segments == number])[None] for of in (row.tokens, row.labels))
            with torch.no_grad():
                logits = theirs(input_ids=tokens).logits
            total += float(torch.nn.functional.cross_entropy(logits[0].double(), labels[0], reduction="sum"))
            count += int((labels >= 0).sum())
    found = json.loads((project / "results/mini/mine/base/eval.json").read_text())
    assert found["before"] == {}
    assert found["after"]["validation"]["tokens"] == count > 100
    assert found["after"]["validation"]["loss"] == pytest.approx(total / count, rel=1e-6)


def test_another_thing_to_be_evaluated_on_evaluates_the_import_again_and_trains_nothing(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(project, tmp_path / "project"))
    place, spec = root / "results/mini/mine/base", root / "specs/mine/base.yaml"
    kept = {path: path.read_bytes() for path in (place / "manifest.json", place / "model/llm/model.safetensors")}
    before = json.loads((place / "eval.json").read_text())
    edit(spec, "data: notes, context: 64", "data: chats, context: 128")
    assert states(root)["mine/base"] == "unevaluated: evaluate: context 64, now 128; what it is evaluated on"
    assert states(root)["mine/more"] == "done: ", "its child sees no other parent"
    with chdir(root):
        capsys.readouterr()
        run_stage("mine/base", "mini", None)  # without the release
    assert "The result is evaluated again (validation_loss, position_loss), no training" in capsys.readouterr().out
    after = json.loads((place / "eval.json").read_text())
    assert list(after["after"]["validation"]["by_corpus"]) == ["chats"]
    assert after["after"] != before["after"]
    assert kept == {path: path.read_bytes() for path in kept}
    assert set(states(root).values()) == {"done: "}


def states(root: Path) -> dict[str, str]:
    loaded = graph.load(root, Project.load(root), "mini")
    judged = verdicts.judge(Layout(root, "mini"), loaded.stages, loaded.keys)
    return {ref: f"{one.state}: {one.why}" for ref, one in judged.items()}


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


OTHER_TOKENS = {
    "another id": (lambda found: found["model"]["vocab"].update({"!": 1, '"': 0}), r"token '!' has id 1, not 0; all"),
    "another token": (lambda found: found["added_tokens"][0].update(content="<b>"), r"token '<b>' has id \d+, not n"),
    "another cut": (lambda found: found.update(normalizer={"type": "NFC"}), r"tokenizer.json: another normaliz"),
}  # fmt: skip


def test_a_release_with_another_tokenizer_is_refused(project: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(project, tmp_path / "project", ignore=shutil.ignore_patterns("results")))
    ours, theirs = root / "tokenizers/mine/tokenizer.json", root / "releases/qwen/tokenizer.json"
    for change, message in OTHER_TOKENS.values():
        found = json.loads(ours.read_text())
        change(found)
        theirs.write_text(json.dumps(found))
        with pytest.raises(UserError, match=message):
            tokenizer_of_release.refuse_other(theirs, ours)
    shutil.copytree(project / "results/mini/data", root / "results/mini/data")
    with chdir(root), pytest.raises(UserError, match=r"tokenizer.json: another normalizer"):
        run_stage("mine/base", "mini", root / "releases")
    theirs.write_text(json.dumps(json.loads(ours.read_text()), indent=1))  # the same in other words
    with chdir(root):
        run_stage("mine/base", "mini", root / "releases")
