"""`stages release`: a folder is declared by its digest, and nothing starts from a release that is not declared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from stages.commands import release, tokenizer
from stages.commands.run import _refuse_undeclared
from stages.errors import UserError
from stages.models import build, hf
from stages.store.releases import folders
from tests.unit.train import tiny
from tests.unit.train.test_released import INIT, ROPE, importing

SPEC = {"release": "tiny", "source": "somebody/tiny", "revision": "main", "licence": "mit",
        "architecture": "LlamaForCausalLM", "digest": "none"}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("scales", "releases"):
        (tmp_path / "specs" / name).mkdir(parents=True)
    (tmp_path / "specs/releases/tiny.yaml").write_text(yaml.safe_dump(SPEC))
    monkeypatch.chdir(tmp_path)
    module = build.make(tiny.LLAMA, ROPE, "cpu")
    build.initialise(module, "llm", tiny.LLAMA, 1)
    hf.save(module, tiny.LLAMA, ROPE, 512, tmp_path / "given")
    return tmp_path / "given"


def test_what_accept_prints_declares_the_folder_and_no_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"specs/releases/tiny.yaml: digest: declared none, found [0-9a-f]{64} in "):
        release.check("tiny", folder)
    release.print_declaration("tiny", folder)
    lines = yaml.safe_load(capsys.readouterr().out)
    assert set(lines) == {"architecture", "digest"}
    (folder.parent / "specs/releases/tiny.yaml").write_text(yaml.safe_dump(SPEC | lines))
    release.check("tiny", folder)
    assert capsys.readouterr().out == f"tiny: {folder} is what specs/releases/tiny.yaml declares\n"
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(UserError, match=rf"digest: declared {lines['digest']}, found [0-9a-f]{{64}} in "):
        release.check("tiny", folder)


@pytest.mark.parametrize(
    "named",
    [None, "Llama", [], [1], ["LlamaForCausalLM", "Other"], ["Llama\nlicence: mit"], ["Llama #"], ["no: yes"], [""]],
)
def test_only_the_name_of_a_class_is_printed_for_a_spec(
    named: object, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": named}))
    with pytest.raises(UserError, match=r"config.json: architectures: found .*; allowed: one name, that of a class"):
        release.print_declaration("tiny", folder)
    assert capsys.readouterr().out == ""


def test_what_the_folder_decides_may_be_missing_until_it_is_accepted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So the lines can be appended to the file, as `>> specs/releases/tiny.yaml` does."""
    path = folder.parent / "specs/releases/tiny.yaml"
    known = {key: value for key, value in SPEC.items() if key not in ("architecture", "digest")}
    path.write_text(yaml.safe_dump(known))
    with pytest.raises(UserError, match=r"tiny.yaml:1: architecture: found nothing; .* `stages release tiny FOLDER"):
        release.check("tiny", folder)
    release.print_declaration("tiny", folder)
    with path.open("a") as file:
        file.write(capsys.readouterr().out)
    release.check("tiny", folder)


def test_the_models_own_folder_is_not_the_one_around_it(folder: Path) -> None:
    with pytest.raises(UserError, match=r"given is a model's own folder; allowed: the folder around it"):
        folders(folder)
    assert folders(folder.parent)["given"] == folder


def test_a_release_that_no_file_declares_is_named_with_what_to_write(folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"no release 'other' in specs/releases; there are: tiny. Write other.yaml there"
    ):
        release.print_declaration("other", folder)


def test_a_tokenizer_that_no_file_declares_is_named_with_what_to_write(folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"no tokenizer 'other' in .*; there are: none\. Write other\.yaml there: tokenizer,"
    ):
        tokenizer.check("other")
    with pytest.raises(
        UserError, match=r"no tokenizer 'releases/other' in .*; there are: none\. Write other\.yaml there"
    ):
        tokenizer.check("releases/other")


def test_nothing_starts_from_a_release_without_a_digest() -> None:
    with pytest.raises(UserError, match=r"starts from the release 'tiny', .* `stages release tiny FOLDER --accept`"):
        _refuse_undeclared(importing())
    _refuse_undeclared(importing(init={"llm": INIT.model_copy(update={"digest": "a" * 64})}))


@pytest.mark.parametrize("field", ["source", "revision", "licence", "architecture"])
def test_a_release_says_where_it_is_from(folder: Path, field: str) -> None:
    (folder.parent / "specs/releases/tiny.yaml").write_text(yaml.safe_dump(SPEC | {field: " "}))
    with pytest.raises(UserError, match=rf"specs/releases/tiny.yaml:\d+: {field}: found ' '; allowed: text that says"):
        release.check("tiny", folder)


def test_a_folder_in_the_name_s_place_is_answered_with_the_order(folder: Path) -> None:
    with pytest.raises(UserError, match=r"found a folder; allowed: first the name .* \(tiny\), then its folder"):
        release.check(str(folder), Path("tiny"))
