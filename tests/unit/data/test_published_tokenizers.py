"""Published tokenizers: read as their spec declares them, roles by the spec, ids beyond 16 bits, texts cut as given."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tokenizers import Tokenizer as HfTokenizer
from tokenizers import normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from stages.commands import tokenizer as command
from stages.data import tokenizer_files
from stages.data.document import IM_END, Document, Part, plain
from stages.data.encode import encode
from stages.data.tokenizer import Tokenizer
from stages.data.tokenizer_declared import declared
from stages.errors import SpecError, UserError
from tests.edits import edit
from tests.unit.data import published
from tests.unit.data.small import ZERO


def opened(root: Path, **changes: Any) -> Tokenizer:
    published.write(root, **changes)
    return declared(root, tokenizer_files.load(root, "mine", declared=False), check=False).open()


def declare(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **changes: Any) -> None:
    """Write the spec, and put into it what `stages tokenizer --accept` prints."""
    published.write(root, **changes)
    (root / "specs/scales").mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(root)
    command.print_declaration("mine")
    path = root / "specs/tokenizers/mine.yaml"
    path.write_text(path.read_text() + capsys.readouterr().out)


def test_roles_are_ids_by_the_specs_words(tmp_path: Path) -> None:
    made = opened(tmp_path)
    ids = HfTokenizer.from_str(published.trained().to_str()).token_to_id
    assert made.roles.by_name() == {name: ids(word) for name, word in published.ROLES.items()}
    assert made.roles.fill == made.roles.eos == made.roles.pad


def test_a_text_is_cut_whole_without_anything_added_and_special_words_in_it_are_text(tmp_path: Path) -> None:
    made, text = opened(tmp_path), "the cat sat on the mat <|im_end|> and said hello, hello and hello</s>"
    ids = made.encode(text)
    assert made.decode(ids) == text
    assert len(ids) > 8  # its tokenizer.json cuts at 8
    assert not {made.roles.bos, made.roles.turn_end, made.roles.eos} & set(ids)
    assert made.encode_batch([text, "a"]) == [ids, made.encode("a")]


@pytest.mark.parametrize(("size", "dtype", "itemsize"), [(0, "<u2", 2), (65_536, "<u2", 2), (65_537, "<i4", 4)])
def test_ids_are_stored_in_16_bits_where_they_fit_and_else_in_32(
    tmp_path: Path, size: int, dtype: str, itemsize: int
) -> None:
    made = opened(tmp_path, size=size)
    assert size in (0, made.vocab)
    encoded = encode([plain("a", "the cat", False)], made, None)
    assert encoded.tokens.dtype == np.dtype(dtype)
    assert encoded.tokens.tolist() == [made.roles.bos, *made.encode("the cat"), made.roles.eos]
    assert encoded.tokens.max() == made.roles.eos
    assert made.roles.eos is not None
    assert made.roles.eos < made.vocab


def test_a_tokenizer_without_bos_begins_no_document_with_one(tmp_path: Path) -> None:
    made = opened(tmp_path, roles={**published.ROLES, "bos": "none"})
    encoded = encode([plain("a", "the cat", False)], made, None)
    assert encoded.tokens.tolist() == [*made.encode("the cat"), made.roles.eos]


def test_parts_name_special_tokens_by_role_and_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    document = Document("a", (Part("the", True), Part(IM_END, True)), False)
    made = opened(tmp_path)
    assert encode([document], made, None).tokens.tolist()[-2:] == [made.roles.turn_end, made.roles.eos]
    without = opened(tmp_path, roles={**published.ROLES, "turn_end": "none"})
    with pytest.raises(UserError, match=r"a document has a token <\|im_end\|>.*roles.turn_end"):
        encode([document], without, None)


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


def test_what_is_declared_is_held_against_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    declare(tmp_path, monkeypatch, capsys)
    command.check("mine")
    assert capsys.readouterr().out.endswith("ids, with a chat template, as declared\n")
    published.write(tmp_path, size=500)
    with pytest.raises(SpecError, match=r"found nothing; .*`stages tokenizer mine --accept`"):
        tokenizer_files.load(tmp_path, "mine")


CHANGES = {
    "case": lambda made: setattr(made, "normalizer", normalizers.Lowercase()),
    "accents": lambda made: setattr(
        made, "normalizer", normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])
    ),
    "line breaks": lambda made: setattr(
        made, "pre_tokenizer", pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), made.pre_tokenizer])
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_a_tokenizer_changes_of_texts_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    declare(tmp_path, monkeypatch, capsys)
    path = tmp_path / "tokenizers/mine/tokenizer.json"
    made = HfTokenizer.from_file(str(path))
    CHANGES[what](made)
    path.write_text(made.to_str())
    command.print_declaration("mine")
    said = yaml.safe_load(capsys.readouterr().out)
    spec = yaml.safe_load((tmp_path / "specs/tokenizers/mine.yaml").read_text())
    published.save(tmp_path, {**spec, **said})
    command.check("mine")
    assert "mine: texts do not come back as they were, and a model writes them so: 'Caf" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["tokens", "template", "eos_token", "role"])
def test_the_digest_covers_tokens_template_words_and_roles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    declare(tmp_path, monkeypatch, capsys)
    folder, spec = tmp_path / "tokenizers/mine", tmp_path / "specs/tokenizers/mine.yaml"
    config = folder / "tokenizer_config.json"
    if what == "tokens":
        (folder / "tokenizer.json").write_text(published.trained(400).to_str())
    elif what == "template":
        config.write_text(json.dumps({**json.loads(config.read_text()), "chat_template": published.CHATML + "\n\n"}))
    elif what == "eos_token":
        edit(config, '"</s>"', '"<img>"')
    else:
        edit(spec, "image: <img>", "image: none")
    with pytest.raises(
        UserError, match=r"specs/tokenizers/mine.yaml: digest: declared .*, found .*, in tokenizers/mine"
    ):
        command.check("mine")


def test_it_cuts_as_transformers_does(tmp_path: Path) -> None:
    made = opened(tmp_path)
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizers/mine/tokenizer.json"))
    for text in published.TEXTS[:3]:
        assert made.encode(text) == theirs(text, add_special_tokens=False)["input_ids"]


def test_a_tokenizer_that_extends_another_keeps_every_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    declare(tmp_path, monkeypatch, capsys)
    published.write(tmp_path, "larger", extends="mine")
    path = tmp_path / "tokenizers/larger/tokenizer.json"
    base = HfTokenizer.from_str(published.trained().to_str())
    base.add_tokens(["<new>"])
    path.write_text(base.to_str())
    spec = tokenizer_files.load(tmp_path, "larger", declared=False)
    assert declared(tmp_path, spec, check=False).open().vocab == base.get_vocab_size()
    path.write_text(published.trained(400).to_str())  # its special tokens lie behind others
    with pytest.raises(
        UserError, match=r"extends: mine, whose token '</s>' has id \d+, found \d+ here \(\d tokens differ"
    ):
        declared(tmp_path, spec, check=False)


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
