"""Published tokenizers: read as their spec declares them, roles by the spec, ids beyond 16 bits, texts cut as given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter
from tokenizers import Tokenizer as HfTokenizer
from tokenizers import normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from stages.commands import tokenizer as command
from stages.data.document import IM_END, Document, Part, plain
from stages.data.tokens import tokenizer_files
from stages.data.tokens.encode import encode
from stages.data.tokens.tokenizer_declared import declared
from stages.errors import SpecError, UserError
from stages.store import json_file
from tests.edits import edit
from tests.unit.data import published
from tests.unit.data.published import declare, opened


def test_roles_are_ids_by_the_specs_words(tmp_path: Path) -> None:
    made = opened(tmp_path)
    ids = HfTokenizer.from_str(published.trained().to_str()).token_to_id
    assert made.roles.by_name() == {name: ids(word) for name, word in published.ROLES.items()}
    assert made.roles.fill == made.roles.eos == made.roles.pad


def test_tokenizer_json_is_parsed_once_besides_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published ones have up to 30 MB."""
    parsed, validate = list[str](), json_file.validate

    def counted(data: bytes, path: Path, kind: TypeAdapter[Any]) -> Any:
        parsed.append(path.name)
        return validate(data, path, kind)

    monkeypatch.setattr(json_file, "validate", counted)
    opened(tmp_path)
    assert parsed.count("tokenizer.json") == 1


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


NONE = {**published.ROLES, "bos": "none"}
ENDING = ", so an exported model is prompted otherwise than it was trained; correct `bos`, unless that is meant\n"


@pytest.mark.parametrize(
    ("roles", "processor", "add_bos", "told"),
    [
        (published.ROLES, "<s> $A", None, ""),
        (NONE, "<s> $A", None, "begin with no token of their own, and texts that transformers encodes with '<s>' (to"),
        (NONE, "<s> $A", True, "begin with no token of their own, and texts that transformers encodes with '<s>' (to"),
        (NONE, "<s> $A", False, ""),
        (published.ROLES, "$A", None, "begin with '<s>', and texts that transformers encodes with no token of their "),
        (published.ROLES, "$A", True, ""),
        (NONE, "$A", False, ""),
        (NONE, "<s> $A </s>", None, ""),
    ],
)
def test_a_bos_that_transformers_puts_and_documents_do_not_have_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    roles: dict[str, str], processor: str, add_bos: bool | None, told: str,
) -> None:  # fmt: skip
    made = published.trained()
    special = [(word, made.token_to_id(word)) for word in ("<s>", "</s>")]
    made.post_processor = processors.TemplateProcessing(single=processor, special_tokens=special)
    (tmp_path / "specs/scales").mkdir(parents=True)
    published.write(tmp_path, roles=roles)
    (tmp_path / "tokenizers/mine/tokenizer.json").write_text(made.to_str())
    config = tmp_path / "tokenizers/mine/tokenizer_config.json"
    kept = {key: value for key, value in json.loads(config.read_text()).items() if key != "bos_token"}
    template = kept["chat_template"].replace("{{ bos_token }}", "")
    config.write_text(json.dumps({**kept, "chat_template": template, "add_bos_token": add_bos}))
    monkeypatch.chdir(tmp_path)
    command.print_declaration("mine")
    said = capsys.readouterr().err
    assert told in said
    assert said.endswith(ENDING) if told else not said


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
