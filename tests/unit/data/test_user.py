"""A user's own files: prepared like the shipped corpora, or refused with file, line and reason."""

from __future__ import annotations

import json

import numpy as np
import pytest

from stages.data import spec
from stages.data.corpus.prepared import Corpus
from stages.data.files import user
from stages.data.files.user import BadRowError
from stages.data.preparing import prepare
from stages.data.tokens.tokenizer import Tokenizer
from stages.data.tokens.tokenizer_use import FILE
from stages.errors import SpecError, UserError
from tests.edits import edit
from tests.unit.data.own_files import MEASURED, declare, run, texts
from tests.unit.data.small import ZERO, Small

GOOD = {
    "text": {"text": "a sentence"},
    "sft": {"messages": [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]},
    "preference": {
        "chosen": [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}],
        "rejected": [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "3"}],
    },
}


def turns(*pairs: tuple[object, object]) -> bytes:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in pairs]}).encode()


@pytest.mark.parametrize(
    ("kind", "row", "why"),
    [
        ("text", b"{nope}", "not JSON"),
        ("text", b"[1]", "found a list instead of an object"),
        ("text", b'{"body": "x"}', "the key 'text' is missing .found: 'body'."),
        ("text", b'{"text": 3}', "text is a number instead of a string"),
        ("text", b'{"text": "  "}', "text is empty"),
        ("text", b'{"text": "\xff"}', "not UTF-8"),
        ("text", b'{"text": "\\ud800"}', "text has half of a surrogate pair"),
        ("text", b'{"text": "a"', "not JSON"),
        ("sft", b'{"text": "a"}', "the key 'messages' is missing .found: 'text', as kind text has it."),
        ("text", turns(("user", "a")), "the key 'text' is missing .found: 'messages', as kind sft has it."),
        (
            "sft",
            b'{"chosen": [], "rejected": []}',
            "the key 'messages' is missing .found: 'chosen', 'rejected', as kind preference has it.",
        ),
        (
            "sft",
            b'{"prompt": "a", "chosen": "b", "rejected": "c"}',
            "the key 'messages' .*, as kind preference with rows: prompt_completion has it.",
        ),
        ("sft", b'{"prompt": "a", "chosen": [], "rejected": []}', "the key 'messages' .*, as kind preference has it."),
        ("sft", b'{"instruction": "a", "output": "b"}', "the key 'messages' .*, as kind sft with rows: alpaca has it."),
        (
            "text",
            b'{"content": "a"}',
            "the key 'text' is missing .found: 'content'; `columns: {text: NAME}` in its spec",
        ),
        (
            "text",
            b'{"content": []}',
            "the key 'text' is missing .*, as builder pictures with rows: interleaved has it.",
        ),
        ("text", b'{"conversations": []}', "the key 'text' is missing .*, as kind sft with rows: sharegpt has it."),
        ("preference", b'{"messages": []}', "the key 'chosen' is missing .found: 'messages', as kind sft has it."),
        (
            "preference",
            b'{"instruction": "a", "chosen": "b"}',
            "the key 'rejected' is missing .found: 'instruction', 'chosen'.",
        ),
        ("sft", b'{"messages": "a"}', "messages is a string instead of a list of turns"),
        ("sft", b'{"messages": []}', "messages is empty"),
        ("sft", b'{"messages": ["a"]}', r"messages\[0\] does not have the key 'role'"),
        ("sft", turns(("robot", "a")), r"messages\[0\].role: found 'robot'"),
        ("sft", turns(("user", None)), r"messages\[0\].content is null"),
        ("sft", turns(("user", "a"), ("assistant", "")), r"messages\[1\].content is empty"),
        ("sft", turns(("user", "a")), "no turn is the assistant's"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_written(project: Small, kind: str, row: bytes, why: str) -> None:
    (project.root / "rows.jsonl").write_bytes(json.dumps(GOOD[kind]).encode() + b"\n\n" + row + b"\n")
    declare(project, "rows.jsonl", kind)
    with pytest.raises(BadRowError, match=rf"^rows\.jsonl:3: {why}.*; allowed: "):
        run(project)
    assert [entry.name for entry in project.data.iterdir()] == ["tokenizer"]


def test_rows_become_documents(project: Small) -> None:
    (project.root / "rows.jsonl").write_text(
        "".join(
            json.dumps({"text": f"number {i} <eos>", "source": "a key that is left alone"}) + "\n" for i in range(200)
        )
    )
    declare(project, "rows.jsonl")
    manifest = run(project)
    assert sorted(texts(project)) == sorted(f"<bos>number {i} <eos><eos>" for i in range(200))
    assert np.count_nonzero(Corpus(project.data / "mine").tokens[:] == 2) == 200  # "<eos>" that a user wrote stays text
    assert manifest.documents + manifest.heldout == 200
    assert manifest.heldout > 0


def test_chats_are_supervised_on_their_answers(project: Small) -> None:
    (project.root / "rows.jsonl").write_bytes(
        json.dumps(GOOD["sft"]).encode() + b"\n" + turns(("user", "3?"), ("assistant", "4"))
    )
    declare(project, "rows.jsonl", "sft")
    run(project)
    corpus, tokenizer = Corpus(project.data / "mine"), Tokenizer(project.data / "tokenizer" / FILE)
    assert corpus.supervised is not None
    said = tokenizer.decode(corpus.tokens[np.flatnonzero(corpus.supervised)])
    assert sorted(said.split("<eos>")) == ["", "2<|im_end|>", "4<|im_end|>"]


def test_blank_lines_separate_the_documents_of_plain_text(project: Small) -> None:
    (project.root / "book.txt").write_bytes(b"\xef\xbb\xbftwo\r\nlines\r\n\r\n \nanother\n\n\nlast")
    declare(project, "book.txt")
    run(project)
    assert sorted(texts(project)) == ["<bos>another<eos>", "<bos>last<eos>", "<bos>two\nlines<eos>"]


@pytest.mark.parametrize("kept", ["\f", "\v", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_only_line_ends_end_a_line_of_plain_text(project: Small, kept: str) -> None:
    alone = f"{kept}\nand below a line that holds nothing else"
    (project.root / "book.txt").write_bytes(f"one{kept}page\n\n{alone}\r\n\r\n{kept}\n\nlast\rline".encode())
    declare(project, "book.txt")
    run(project)
    documents = {f"one{kept}page", alone, "last\nline"}  # white space alone is no document
    assert set(texts(project)) == {f"<bos>{text}<eos>" for text in documents}


@pytest.mark.parametrize("count", range(2, 8))
def test_one_document_at_least_is_held_out_and_one_is_not(project: Small, count: int) -> None:
    (project.root / "few.txt").write_text("\n\n".join(f"document {number}" for number in range(count)))
    declare(project, "few.txt")
    manifest = run(project)
    assert manifest.heldout >= 1
    assert manifest.documents >= 1


def test_plain_text_that_is_not_utf8_names_the_line(project: Small) -> None:
    (project.root / "book.txt").write_bytes(b"one\ntwo \xe9\n")
    declare(project, "book.txt")
    with pytest.raises(BadRowError, match=r"book\.txt:2: not UTF-8"):
        run(project)


@pytest.mark.parametrize("name", ["a.txt", "a.md"])
def test_plain_text_in_utf16_without_a_mark_is_no_text(project: Small, name: str) -> None:
    (project.root / name).write_bytes("one\n\ntwo\n\nthree".encode("utf-16-le"))  # which is UTF-8 too
    declare(project, name)
    with pytest.raises(BadRowError, match=rf"{name}:1: a byte of zero, as UTF-16 without .* has; allowed: text in U"):
        run(project)


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("A.JSONL", "text", r"found 'A\.JSONL'; allowed: a file that ends in .*\. Rename it, with an ending in s"),
        ("a.jsonl.xz", "text", r"allowed: a file that ends in .*\. Unpack it with `unxz`"),
        ("https://example.org/a.jsonl", "text", r"path: https://example.org/a.jsonl: an address, and nothing is"),
        ("none.jsonl", "text", r"specs/data/mine\.yaml:4: path: none\.jsonl: there is no such file"),
        ("empty.jsonl", "text", "0 different documents; allowed: at least two"),
        ("twice.jsonl", "text", "1 different documents; allowed: at least two"),
        ("a.txt", "sft", "plain text has no answers to supervise"),
        ("folder.txt", "text", "no file in it ends in"),
        ("outside.txt", "text", "a link that leads out of"),
        ("circle.txt", "text", "circle.txt: cannot be reached"),
    ],
)
def test_unusable_files_are_refused(
    project: Small, tmp_path_factory: pytest.TempPathFactory, name: str, kind: str, why: str
) -> None:
    other = tmp_path_factory.mktemp("elsewhere") / "secret.txt"
    other.write_text("one\n\ntwo")
    (project.root / "empty.jsonl").write_text("\n")
    (project.root / "twice.jsonl").write_text((json.dumps(GOOD["text"]) + "\n") * 2)
    (project.root / "a.txt").write_text("text\n\nmore")
    (project.root / "folder.txt").mkdir()
    (project.root / "outside.txt").symlink_to(other)
    (project.root / "circle.txt").symlink_to(project.root / "circle.txt")
    declare(project, name, kind)
    with pytest.raises(UserError, match=why):
        run(project)
    assert not (project.data / "mine").exists()


@pytest.mark.parametrize(
    "path", ["/etc/passwd.txt", "../rows.jsonl", "data/../../rows.jsonl", "~/rows.jsonl", "", "a\\b.txt"]
)
def test_a_path_that_could_leave_the_project_is_refused_where_it_is_written(project: Small, path: str) -> None:
    declare(project, path)
    with pytest.raises(SpecError, match=r"^specs/data/mine\.yaml:\d+: path: found ") as caught:
        run(project)
    assert "Traceback" not in str(caught.value)


def test_before_it_is_declared_a_corpus_says_how_to_declare_it(project: Small) -> None:
    (project.root / "rows.txt").write_text("one\n\ntwo")
    declare(project, "rows.txt")
    with pytest.raises(SpecError, match=r"digest: found nothing;.* Run `stages data mine --accept`"):
        prepare.prepare(project.root, "mine", project.data / "mine")


def test_a_failed_preparation_keeps_the_previous_one(project: Small) -> None:
    path = project.root / "rows.jsonl"
    path.write_text(json.dumps(GOOD["text"]) + "\n" + json.dumps({"text": "another"}) + "\n")
    declare(project, "rows.jsonl")
    before = run(project)
    path.write_text("broken\n")
    with pytest.raises(BadRowError):
        run(project)
    assert Corpus(project.data / "mine").manifest == before


def test_a_file_that_changed_under_its_name_is_refused(project: Small) -> None:
    path = project.root / "rows.txt"
    path.write_text("one\n\ntwo")
    declare(project, "rows.txt")
    made = run(project)
    declare(project, "rows.txt", **{key: getattr(made, key) for key in MEASURED})
    manifest = prepare.read_manifest(project.data / "tokenizer")
    tokens = project.root / "specs/data/tokenizer.yaml"
    edit(tokens, ZERO, manifest.digest)
    assert prepare.prepare(project.root, "mine", project.data / "mine") == made
    path.write_text("one\n\nthree")
    with pytest.raises(UserError, match=r"mine\.yaml: digest: declared [0-9a-f]{64}, built [0-9a-f]{64}"):
        prepare.prepare(project.root, "mine", project.data / "mine")
    assert Corpus(project.data / "mine").manifest == made


def test_a_line_of_its_own_ends_no_row(project: Small) -> None:
    rows = project.root / "rows.jsonl"
    rows.write_text('{"text": "a\\u2028b"}\r\n{"text": "c\u2028d"}\n')
    declare(project, "rows.jsonl")
    assert len(list(user.documents(project.root, spec.load(project.root, "mine", declared=False)))) == 2
