"""Published tokenizers that are refused: by what their spec declares, or by what is in their folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.data.tokens import tokenizer_files
from stages.data.tokens.tokenizer_declared import declared
from stages.errors import UserError
from tests.unit.data import published
from tests.unit.data.published import opened
from tests.unit.data.small import ZERO

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no such token": ({"roles": {**published.ROLES, "bos": "<bos>"}}, r"roles.bos: '<bos>': no token of the"),
    "one token for bos and eos": (
        {"roles": {**published.ROLES, "bos": "</s>"}}, r"roles.bos: '</s>', which is pad too; .*bos is none"),
    "image is pad": ({"roles": {**published.ROLES, "pad": "<img>"}}, r"roles.image: '<img>', which is pad too"),
    "no folder": ({"path": "elsewhere"}, r"elsewhere/tokenizer.json: no such file; mine's spec says"),
    "outside": ({"path": "../mine"}, r"mine.yaml:2: path: found '../mine'; allowed: a folder relative"),
    "a role is missing": ({"roles": {"bos": "<s>"}}, r"mine.yaml:\d+: roles.eos: found nothing"),
    "a template is none": ({"template": "{% if %}"}, r"chat template cannot be read: Expected"),
    "a word of texts for eos": ({"roles": {**published.ROLES, "eos": "the"}}, r"roles.eos: 'the', which a text tu"),
    "a letter for pad": ({"roles": {**published.ROLES, "pad": "a"}}, r"roles.pad: 'a', which a text turns into"),
    "a template by no name": ({"template": [{"name": ["default"], "template": ""}, 5]}, r"found 2 templates, of whi"),
    "two templates of one name": (
        {"template": [{"name": "default", "template": "a"}, {"name": "default", "template": "b"}]}, r"of which 2 are"),
    "no text for a template": ({"template": [{"name": "default"}]}, r"found 1 templates, of which 1 is called 'd"),
    "a template of several": ({"template": [{"name": "rag", "template": ""}]}, r"found 1 templates, of which none is"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_declaration_is_refused(tmp_path: Path, name: str) -> None:
    changes, message = WRONG[name]
    with pytest.raises(UserError, match=message):
        opened(tmp_path, **changes)


MINE, OTHER = published.CHATML, published.CHATML + "Answer briefly."
JINJA, PROCESSOR = "chat_template.jinja", "chat_template.json"


@pytest.mark.parametrize(
    ("files", "config", "refused"),
    [
        ({JINJA: OTHER}, MINE, f"tokenizer_config.json: chat_template: another one than in {JINJA}; which of the two"),
        ({PROCESSOR: {"chat_template": OTHER}}, MINE, f"{PROCESSOR}: chat_template: another one than in tokenizer_con"),
        ({PROCESSOR: {"chat_template": OTHER}, JINJA: MINE}, None, f"{PROCESSOR}: .* another one than in {JINJA}"),
        ({JINJA: MINE + "\n"}, MINE, ""),
        ({JINJA: MINE}, [{"name": "rag", "template": OTHER}], ""),
        ({PROCESSOR: {"chat_template": [{"name": "default", "template": MINE}]}}, MINE, ""),
        ({PROCESSOR: {"chat_template": MINE}, JINJA: MINE}, None, ""),
    ],
)
def test_files_with_different_chat_templates_are_refused(
    tmp_path: Path, files: dict[str, Any], config: Any, refused: str
) -> None:
    published.write(tmp_path, template=config)
    for name, found in files.items():
        (tmp_path / "tokenizers/mine" / name).write_text(found if isinstance(found, str) else json.dumps(found))
    spec = tokenizer_files.load(tmp_path, "mine", declared=False)
    if refused:
        with pytest.raises(UserError, match=refused):
            tokenizer_files.read(tmp_path, spec)
    else:
        assert (tokenizer_files.read(tmp_path, spec).template or "").rstrip("\n") == published.CHATML


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"bos_token": "</s>"}, r"tokenizer_config.json: bos_token: '</s>', where the tokenizer's spec names '<s>'"),
        ({"bos_token": "<nothing>"}, r"bos_token: '<nothing>' is no token of tokenizer.json, and would be given a new"),
    ],
)
def test_the_words_of_the_template_are_the_roles_tokens(tmp_path: Path, words: dict[str, str], message: str) -> None:
    published.write(tmp_path)
    path = tmp_path / "tokenizers/mine/tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | words))
    with pytest.raises(UserError, match=message):
        declared(tmp_path, tokenizer_files.load(tmp_path, "mine", declared=False), check=False)


def test_no_tokenizer_extends_itself_by_way_of_another(tmp_path: Path) -> None:
    for name, other in (("mine", "yours"), ("yours", "mine")):
        published.write(tmp_path, name, extends=other, vocab=307, digest=ZERO)
    with pytest.raises(UserError, match=r"mine.yaml: extends: mine extends yours extends mine; allowed: one that has"):
        declared(tmp_path, tokenizer_files.load(tmp_path, "mine"))


def _garbage(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def _binary(folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(b"\xff\xfe")


def _link_out(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder.parents[2] / "tokenizer.json")
    (folder / "tokenizer.json").symlink_to(folder.parents[2] / "tokenizer.json")


def _pipe(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    os.mkfifo(folder / "tokenizer.json")


def _config(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("[]")


FILES: dict[Callable[[Path], None], str] = {
    _garbage: r"tokenizer.json: not a tokenizer.json that `tokenizers` can read",
    _binary: r"tokenizer.json: cannot be read as UTF-8",
    _link_out: r"tokenizer.json: a link that leads out of .*, to ",
    _pipe: r"tokenizer.json: not a regular file",
    _config: r"tokenizer_config.json: top level: expected a mapping",
}


@pytest.mark.parametrize("change", FILES, ids=lambda change: change.__name__)
def test_files_that_are_none_are_refused(tmp_path: Path, change: Callable[[Path], None]) -> None:
    root = tmp_path / "project"
    published.write(root)
    change(root / "tokenizers" / "mine")
    with pytest.raises(UserError, match=FILES[change]):
        declared(root, tokenizer_files.load(root, "mine", declared=False), check=False)


@pytest.mark.parametrize("other", ["tokenizer.model", "qwen.tiktoken", "tekken.json", "vocab.json"])
def test_a_tokenizer_in_another_form_is_named_with_what_makes_a_tokenizer_json(tmp_path: Path, other: str) -> None:
    published.write(tmp_path)
    folder, spec = tmp_path / "tokenizers/mine", tokenizer_files.load(tmp_path, "mine", declared=False)
    (folder / "tokenizer.json").rename(folder / other)
    made = rf"no such file; .* It has {other}: transformers makes .*"
    with pytest.raises(UserError, match=made + "import CLASS; .*; CLASS is the one that it was made for, .* GPT2"):
        tokenizer_files.read(tmp_path, spec)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    with pytest.raises(UserError, match=made + r"import AutoTokenizer; AutoTokenizer\.from_pretrained.*`\.$"):
        tokenizer_files.read(tmp_path, spec)


def test_a_file_as_a_tokenizers_folder_is_told_so(tmp_path: Path) -> None:
    published.write(tmp_path, path="tokenizers/mine/tokenizer.json")
    spec = tokenizer_files.load(tmp_path, "mine", declared=False)
    with pytest.raises(UserError, match=r"tokenizer.json: found a file; allowed: the folder that it is in"):
        tokenizer_files.read(tmp_path, spec)


@pytest.mark.parametrize("named", ["specs/tokenizers/mine.yaml", "tokenizers/mine", "mime"])
def test_a_path_as_a_tokenizers_name_is_told_the_name(tmp_path: Path, named: str) -> None:
    published.write(tmp_path)
    with pytest.raises(UserError, match=r"there are: mine\. Did you mean 'mine'\?"):
        tokenizer_files.load(tmp_path, named)
