"""`stages data NAME --show N`: what is learned, where a document begins and ends, which row it is from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from stages.commands import data_shown
from stages.commands.data import print_declaration
from stages.commands.data_shown import print_documents
from stages.data.corpus.prepared import Corpus
from stages.data.files import pieces
from stages.data.loading import document_view
from stages.data.preparing.measured import declaration
from stages.data.preparing.prepare import prepare as prepare_corpus
from stages.errors import UserError
from tests.unit.data import published, small
from tests.unit.data.small import ZERO, spec, write_spec
from tests.unit.spec import small_project


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its tokenizer prepared, copied for each test."""
    root = tmp_path_factory.mktemp("pattern") / "project"
    small_project.write(root)
    write_spec(root, "math", spec("math"))
    words = {"tokenizer": "test", "vocab": 300, "digest": ZERO, "corpora": ["math"], "characters": 4000}
    write_spec(root, "tokenizer", words)
    made = prepare_corpus(root, "tokenizer", root / "results/mini/data/tokenizer", accept=True)
    write_spec(root, "tokenizer", {**words, **yaml.safe_load(declaration(made))})
    return root


@pytest.fixture
def project(pattern: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = Path(shutil.copytree(pattern, tmp_path / "project"))
    monkeypatch.chdir(root)
    return root


def prepared(project: Path, path: object, kind: str = "text", **more: object) -> None:
    own = {"corpus": "mine", "kind": kind, "unit": "tokens", "builder": "file", "path": path, **more}
    write_spec(project, "mine", own)
    print_declaration("mine")


def said(capsys: pytest.CaptureFixture[str], count: int = 3) -> str:
    capsys.readouterr()
    print_documents("mine", "mini", count)
    return capsys.readouterr().out


def chat(number: int) -> dict[str, object]:
    asked = {"role": "user", "content": f"What is {number} + 1?\nSay it."}
    return {"messages": [asked, {"role": "assistant", "content": f"It is {number + 1}."}]}


def rows(path: Path, found: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in found))


def test_of_a_conversation_the_answer_alone_is_marked(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows(project / "a.jsonl", [chat(number) for number in range(20)])
    declared = published.write(project)
    from stages.data.tokens import tokenizer_declared, tokenizer_files

    loaded = tokenizer_files.load(project, "mine", declared=False)
    found = tokenizer_declared.declared(project, loaded, check=False)
    published.save(project, {**declared, "vocab": found.open().vocab, "digest": found.digest})
    prepared(project, "a.jsonl", "sft", tokenizer="mine")
    out = said(capsys, 2).splitlines()
    assert out[0].startswith("mine: 20 documents, of which ")
    assert out[1] == data_shown.LEGEND
    first = out.index("--- end of the document")
    head, *lines = out[3:first]
    assert head.startswith("--- a.jsonl:1: document ")
    assert lines == [
        "| «<s>»«<|im_start|>»user↵",
        "| What is 0 + 1?↵",
        "| Say it.«<|im_end|>»↵",
        "| «<|im_start|>»assistant↵",
        "+ It is 1.«<|im_end|>»",
        "| ↵",
    ]
    assert "--- a.jsonl:2: document " in out[first + 2]


def test_that_the_tokenizer_was_changed_since_is_said_above_what_was_prepared_before(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from stages.commands.tokenizer import print_declaration as accept

    rows(project / "a.jsonl", [chat(number) for number in range(20)])
    declared = published.write(project)

    def accepted(**changes: object) -> None:
        published.save(project, {**declared, **changes})
        capsys.readouterr()
        accept("mine")
        published.save(project, {**declared, **changes, **yaml.safe_load(capsys.readouterr().out)})

    accepted()
    prepared(project, "a.jsonl", "sft", tokenizer="mine")
    assert said(capsys).splitlines()[1] == data_shown.LEGEND
    accepted(roles={**published.ROLES, "bos": "none"})
    before = "prepared before that; `stages data mine --accept` prepares it as it is now"
    assert said(capsys).splitlines()[1] == f"mine: its tokenizer was changed: what follows was {before}"
    published.save(project, declared)
    assert f"mine: its tokenizer was changed, and what follows was {before}: specs/tokenizers/mine.yaml" in said(capsys)


def test_that_the_spec_declares_another_digest_is_said_too(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows(project / "a.jsonl", [chat(number) for number in range(20)])
    counts = {"digest": "1" * 64, "size": 1, "documents": 1, "longest": 1, "heldout": 0}
    prepared(project, "a.jsonl", "sft", **counts)
    assert said(capsys).splitlines()[1].startswith("mine: specs/data/mine.yaml declares another digest: what follows")


def test_where_no_row_can_be_used_any_more_that_is_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows(project / "a.jsonl", [chat(number) for number in range(20)])
    prepared(project, "a.jsonl", "sft")
    rows(project / "a.jsonl", [{"messages": []}])
    assert said(capsys).splitlines()[-1].startswith("no row of its files can be used as they are; ")


def test_of_a_pair_each_answer_stands_below_what_it_is(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs: list[dict[str, object]] = [
        {"instruction": f"{number} + 1?", "chosen": f"{number + 1}", "rejected": "no"} for number in range(20)
    ]
    rows(project / "a.jsonl", pairs)
    prepared(project, "a.jsonl", "preference", rows="alpaca")
    asked = ["| «<bos>»«<|im_start|>»user↵", "| 0 + 1?«<|im_end|>»↵", "| «<|im_start|>»assistant↵"]
    end = "«<|im_end|>»«<eos>»"
    lines = said(capsys, 1).splitlines()[4:-1]
    assert lines == ["    chosen:", *asked, f"+ 1{end}", "    rejected:", *asked, f"+ no{end}"]
    monkeypatch.setattr(document_view, "LONGEST", 5)
    assert "rejected" not in said(capsys, 1)


def test_columns_that_are_not_read_are_named_where_it_is_prepared_and_shown(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows(project / "a.jsonl", [{"system": "be brief", **chat(number)} for number in range(20)])
    prepared(project, "a.jsonl", "sft")
    named = "mine: columns of a.jsonl that are not read: 'system'"
    assert named in capsys.readouterr().err
    assert said(capsys, 1).splitlines()[1] == named


def test_words_of_special_tokens_in_plain_text_are_said_to_be_letters(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["one<eos>", "two <|endoftext|> three", "<|im_start|>user", "<|im_start|>user\nfour", "five"]
    rows(project / "a.jsonl", [{"text": text} for text in texts])
    prepared(project, "a.jsonl")
    named = (
        "mine: 4 of the first 5 documents have '<|im_start|>', '<eos>', '<|endoftext|>' in their text, which is read "
        "as letters: no token that ends a document or a turn. Conversations are kind sft"
    )
    assert named in capsys.readouterr().err
    assert said(capsys, 1).splitlines()[1] == named
    rows(project / "a.jsonl", [{"text": "plain <p>"}, {"text": "text"}])
    prepared(project, "a.jsonl")
    assert "letters" not in capsys.readouterr().err


def test_numbers_in_the_head_are_those_of_the_mask(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows(project / "a.jsonl", [chat(number) for number in range(20)])
    prepared(project, "a.jsonl", "sft")
    out = said(capsys, 1)
    learned = "".join(line[2:] for line in out.splitlines() if line.startswith("+ "))
    assert learned == "It is 1.«<|im_end|>»«<eos>»"
    corpus = Corpus(project / "results/mini/data/mine")
    assert corpus.supervised is not None
    number = int(out.split(": document ")[1].split(" ")[0]) - 1
    start, end = corpus.offsets[number : number + 2].tolist()
    assert f": {end - start} tokens, {corpus.supervised[start:end].sum()} learned\n" in out


def test_plain_text_is_learned_but_for_its_first_token(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "a.txt").write_text("\n\n".join(f"document {number}\nof two lines" for number in range(9)))
    prepared(project, "a.txt")
    out = said(capsys, 1).splitlines()
    assert out[3].startswith("--- a.txt:1: document ")
    assert out[4:] == ["| «<bos>»", "+ document 0↵", "+ of two lines«<eos>»", "--- end of the document"]


def test_each_row_is_named_by_its_file_and_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad and empty rows between them count as lines; files are all shown from."""
    for name in "ab":
        rows(project / f"{name}.jsonl", [{"text": f"{name} number {number}"} for number in range(5)])
    text = (project / "a.jsonl").read_text().split("\n")
    (project / "a.jsonl").write_text("\n".join([text[0], "", "{", *text[1:]]))
    prepared(project, ["a.jsonl", "b.jsonl"], on_bad_row={"skip": 1})
    out = said(capsys, 4)
    heads = [line.split(": ")[0][4:] for line in out.splitlines() if line.startswith("--- ") and ": " in line]
    assert heads == ["a.jsonl:1", "a.jsonl:4", "b.jsonl:1", "b.jsonl:2"]
    assert "+ a number 1«<eos>»" in out
    assert "+ b number 1«<eos>»" in out


def test_pieces_of_a_large_file_are_all_shown_from(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 600)
    rows(project / "a.jsonl", [{"text": f"number {number}"} for number in range(100)])
    prepared(project, "a.jsonl")
    out = said(capsys, 3)
    for line in (head for head in out.splitlines() if head.startswith("--- a.jsonl:")):
        number = int(line.split(":")[1])
        assert f"+ number {number - 1}«<eos>»" in out
    assert out.count("--- a.jsonl:") == 3
    assert "--- a.jsonl:3:" not in out


def test_what_a_text_says_does_not_reach_the_terminal_raw(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "a\x1b[31mred\x1b]0;title\x07 \r\x00\x85\u202e [bold]x[/] <eos>"
    rows(project / "a.jsonl", [{"text": f"{evil}\n+ {number}"} for number in range(4)])
    prepared(project, "a.jsonl")
    out = said(capsys, 4)
    assert not set(out) & set("\x1b\x07\r\x00\x85\u202e")
    assert r"+ a\x1b[31mred\x1b]0;title\x07 \r\x00\x85\u202e [bold]x[/] <eos>↵" in out  # <eos> is text here
    assert "\n+ + 0«<eos>»\n" in out


def test_a_file_name_with_a_control_character_is_refused_and_does_not_reach_the_terminal_raw(project: Path) -> None:
    (project / "in").mkdir()
    rows(project / "in" / "\x1b[31m.jsonl", [{"text": f"number {number}"} for number in range(4)])
    with pytest.raises(UserError) as error:
        prepared(project, "in")
    assert str(error.value).startswith(r"'in/\x1b[31m.jsonl': a name with a control character")


def test_on_a_terminal_what_is_learned_has_a_colour(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows(project / "a.jsonl", [chat(number) for number in range(4)])
    prepared(project, "a.jsonl", "sft")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = said(capsys, 1)
    assert "+ \x1b[1;32mIt is 1.«<|im_end|>»" in out
    assert "| \x1b[2m" in out


def test_a_row_that_was_left_out_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows(project / "a.jsonl", [{"text": text} for text in ("same", "same", "other", "third")])
    prepared(project, "a.jsonl", duplicates="drop")
    out = said(capsys, 4)
    assert "a.jsonl:2: in no document that was prepared: a duplicate, or changed since" in out
    assert out.count("+ same") == 1


def test_equal_documents_are_shown_one_after_the_other(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows(project / "a.jsonl", [{"text": text} for text in ("same", "same", "other", "third")])
    prepared(project, "a.jsonl")
    heads = [line for line in said(capsys, 2).splitlines() if line.startswith("--- a.jsonl")]
    assert len({head.split("document ")[1] for head in heads}) == 2


def test_a_long_document_is_cut(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_view, "LONGEST", 6)
    rows(project / "a.jsonl", [{"text": f"{number} " * 50} for number in range(4)])
    prepared(project, "a.jsonl")
    assert "    ... and " in said(capsys, 1)


@pytest.mark.parametrize("name", ["math", "reasoning", "captions", "digit_qa", "pairs"])
def test_shipped_corpora_of_every_kind_are_shown(project: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    write_spec(project, name, small.spec(name, **{"parameters": {**small.CORPORA[name][2], "count": 20}}))
    print_declaration(name)
    capsys.readouterr()
    print_documents(name, "mini", 2)
    out = capsys.readouterr().out
    assert out.count(f"--- builder {name}: document ") == 2
    if name in ("captions", "digit_qa"):
        assert "«<image>» x " in out
    if name in ("captions", "digit_qa", "pairs"):
        assert "    picture 1: " in out


def test_what_is_not_there_is_said(project: Path) -> None:
    write_spec(
        project, "mine", {"corpus": "mine", "kind": "text", "unit": "tokens", "builder": "file", "path": "a.txt"}
    )
    with pytest.raises(UserError, match=r"corpus mine is not prepared; run `stages data mine --scale mini`"):
        print_documents("mine", "mini", 1)
    with pytest.raises(UserError, match="tokenizer: has no rows to show"):
        print_documents("tokenizer", "mini", 1)
