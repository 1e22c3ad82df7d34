"""Files as users have them: each format and shape gives the same documents, each fault its own message."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.data import pieces, prepare, spec, user
from stages.data.document import Document
from stages.data.prepared import read_manifest
from stages.errors import SpecError, UserError
from tests.unit.data.small import Small, write_spec
from tests.unit.data.test_user import MEASURED, project

__all__ = ["project"]

pa = pytest.importorskip("pyarrow", reason="Parquet, Arrow and zstandard are read by pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

TEXTS = [f"text number {number}\nwith a second line, \u00fc and \U0001f600" for number in range(6)]
CHATS = [
    [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": f"{number} + 1?"},
        {"role": "assistant", "content": f"{number + 1}"},
    ]
    for number in range(6)
]
NAMES = {"system": "system", "user": "human", "assistant": "gpt"}
SHAREGPT = [[{"from": NAMES[one["role"]], "value": one["content"]} for one in chat] for chat in CHATS]
ALPACA = [
    {"instruction": chat[1]["content"], "input": "", "output": chat[2]["content"], "system": "be brief"}
    for chat in CHATS
]
HALVES = [{"prompt": chat[:2], "completion": chat[2:]} for chat in CHATS]

Write = Callable[[Path, list[dict[str, Any]]], None]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(lines(rows))


def gz(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(gzip.compress(lines(rows[:3])) + gzip.compress(lines(rows[3:])))  # as `cat a.gz b.gz` makes


def zst(path: Path, rows: list[dict[str, Any]]) -> None:
    codec = pa.Codec("zstd")
    path.write_bytes(b"".join(codec.compress(lines(part), asbytes=True) for part in (rows[:3], rows[3:])))


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)


def arrow_stream(path: Path, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=4)


def arrow_file(path: Path, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=4)


def saved(path: Path, rows: list[dict[str, Any]]) -> None:
    """As `datasets.Dataset.save_to_disk` writes it, with a cached file beside it."""
    path.mkdir()
    arrow_stream(path / "data-00000-of-00002.arrow", rows[:2])
    arrow_stream(path / "data-00001-of-00002.arrow", rows[2:])
    arrow_stream(path / "cache-0123456789abcdef.arrow", rows)
    names = [{"filename": f"data-0000{number}-of-00002.arrow"} for number in range(2)]
    (path / "state.json").write_text(json.dumps({"_data_files": names, "_format_type": None}))
    (path / "dataset_info.json").write_text("{}")


FORMATS: dict[str, Write] = {
    "a.jsonl": jsonl, "a.jsonl.gz": gz, "a.jsonl.zst": zst, "a.parquet": parquet, "a.arrow": arrow_stream,
    "b.arrow": arrow_file, "saved": saved,
}  # fmt: skip
SHAPES: dict[str, list[dict[str, Any]]] = {
    "messages": [{"messages": chat} for chat in CHATS],
    "sharegpt": [{"conversations": chat} for chat in SHAREGPT],
    "alpaca": ALPACA,
}


def declare(project: Small, path: object, kind: str = "text", **more: object) -> None:
    content = {"corpus": "mine", "kind": kind, "unit": "tokens", "builder": "file", "path": path}
    write_spec(project.root, "mine", {**content, **more})


def read(project: Small) -> list[Document]:
    return list(user.documents(project.root, spec.load(project.root, "mine", declared=False)))


def identities(project: Small) -> list[str]:
    return [document.identity for document in read(project)]


@pytest.mark.parametrize("name", FORMATS)
def test_text_is_the_same_in_every_format(project: Small, name: str) -> None:
    FORMATS[name](project.root / name, [{"id": number, "text": text} for number, text in enumerate(TEXTS)])
    declare(project, name)
    assert [document.parts[0].content for document in read(project)] == TEXTS
    assert identities(project) == [json.dumps(text) for text in TEXTS]


@pytest.mark.parametrize("rows", SHAPES)
@pytest.mark.parametrize("name", FORMATS)
def test_a_conversation_is_the_same_in_every_format_and_shape(project: Small, name: str, rows: str) -> None:
    FORMATS[name](project.root / name, SHAPES[rows])
    declare(project, name, "sft", rows=rows)
    assert identities(project) == [json.dumps(chat, sort_keys=True) for chat in CHATS]


@pytest.mark.parametrize("name", ["a.txt", "folder"])
def test_text_without_rows_is_the_same_too(project: Small, name: str) -> None:
    if name == "a.txt":
        (project.root / name).write_text("\n\n".join(TEXTS))
    else:
        (project.root / name).mkdir()
        for number, text in enumerate(TEXTS):
            (project.root / name / f"{number}.md").write_text(text.replace("\n", "\r\n"), newline="")
    declare(project, name)
    assert identities(project) == [json.dumps(text) for text in TEXTS]


def test_the_prepared_bytes_are_the_same_in_every_format(project: Small) -> None:
    """So what is held out is, and so is the digest that specs declare."""
    digests = set()
    for name, write in FORMATS.items():
        write(project.root / name, [{"text": text} for text in TEXTS])
        declare(project, name)
        manifest = prepare.prepare(project.root, "mine", project.data / "mine", accept=True)
        digests.add((manifest.digest, manifest.heldout))
    assert len(digests) == 1


def test_row_groups_are_read_once_wherever_a_file_is_cut(project: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet(project.root / "a.parquet", [{"text": text} for text in TEXTS])
    declare(project, "a.parquet")
    for piece in (1, 50, 300, 1000):
        monkeypatch.setattr(pieces, "PIECE", piece)
        assert identities(project) == [json.dumps(text) for text in TEXTS]


def test_the_row_of_a_table_is_named_across_row_groups(project: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet(project.root / "a.parquet", [{"text": text} for text in [*TEXTS[:4], None]])
    declare(project, "a.parquet")
    monkeypatch.setattr(pieces, "PIECE", 200)
    with pytest.raises(UserError, match=r"^a\.parquet:5: text is a NoneType instead of a string"):
        read(project)


def test_several_files_come_in_the_stated_order(project: Small) -> None:
    for number, text in enumerate(TEXTS):
        jsonl(project.root / f"{number}.jsonl", [{"text": text}])
    declare(project, ["3.jsonl", "0.jsonl", "[45].jsonl"])
    assert identities(project) == [json.dumps(TEXTS[number]) for number in (3, 0, 4, 5)]


def test_columns_are_those_that_the_spec_names(project: Small) -> None:
    rows = [{"body": text, "text": "not this one"} for text in TEXTS]
    parquet(project.root / "a.parquet", rows)
    declare(project, "a.parquet", columns={"text": "body"})
    assert identities(project) == [json.dumps(text) for text in TEXTS]


def test_files_may_lie_below_a_declared_root(project: Small, tmp_path_factory: pytest.TempPathFactory) -> None:
    lake = tmp_path_factory.mktemp("lake")
    (lake / "shards").mkdir()
    jsonl(lake / "shards" / "a.jsonl", [{"text": text} for text in TEXTS])
    write_spec(project.root, "roots", {"roots": {"lake": str(lake)}})
    declare(project, "shards", root="lake")
    assert len(read(project)) == 6
    (lake / "shards" / "b.jsonl").symlink_to(project.root / "specs/data/mine.yaml")
    with pytest.raises(UserError, match="a link that leads out of"):
        read(project)
    declare(project, "shards", root="pond")
    with pytest.raises(UserError, match=r"root: pond: no such root; specs/data/roots\.yaml declares: lake"):
        read(project)


def supervised(document: Document) -> list[object]:
    return [part.content for part in document.parts if part.supervised]


def test_a_completion_alone_is_learned(project: Small) -> None:
    jsonl(project.root / "a.jsonl", [{"prompt": "1 + 1 =", "completion": " 2"}])
    declare(project, "a.jsonl", "sft", rows="prompt_completion")
    (found,) = read(project)
    assert [part.content for part in found.parts] == ["1 + 1 =", " 2"]
    assert supervised(found) == [" 2"]


def test_of_messages_in_a_prompt_no_answer_is_learned(project: Small) -> None:
    ask, answer = {"role": "user", "content": "?"}, {"role": "assistant", "content": "first"}
    last = {"role": "assistant", "content": "second"}
    jsonl(project.root / "a.jsonl", [{"prompt": [ask, answer, ask], "completion": [last]}])
    declare(project, "a.jsonl", "sft", rows="prompt_completion")
    (found,) = read(project)
    assert supervised(found) == ["second", 5]  # and the <|im_end|> that closes it


def test_parts_of_text_are_joined_and_calls_are_for_a_chat_template(project: Small) -> None:
    call = {"type": "function", "id": "1", "function": {"name": "add", "arguments": '{"a": 1}'}}
    chat = [
        {"role": "user", "content": [{"type": "text", "text": "what is "}, {"type": "text", "text": "1 + 1?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "2", "tool_call_id": "1"},
        {"role": "assistant", "content": "It is 2."},
    ]
    jsonl(project.root / "a.jsonl", [{"messages": chat}])
    declare(project, "a.jsonl", "sft")
    (found,) = read(project)
    assert found.conversation is not None
    asked, called, answered, told = found.conversation.messages
    assert asked["content"] == "what is 1 + 1?"
    assert called["tool_calls"] == [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]
    assert (called["content"], answered["tool_call_id"], told["content"]) == ("", "1", "It is 2.")
    with pytest.raises(UserError, match=r"^a\.jsonl:1: found tools, .*allowed: role and content"):
        prepare.prepare(project.root, "mine", project.data / "mine", accept=True)


@pytest.mark.parametrize("tools", [[{"name": "add"}], '[{"name": "add"}]'])
def test_schemas_of_tools_are_objects_or_their_json(project: Small, tools: object) -> None:
    jsonl(project.root / "a.jsonl", [{"messages": CHATS[0], "schemas": tools}])
    declare(project, "a.jsonl", "sft", columns={"tools": "schemas"})
    (found,) = read(project)
    assert found.conversation is not None
    assert found.conversation.tools == ({"name": "add"},)


def alpaca(**changes: object) -> dict[str, object]:
    return {"instruction": "add", "input": "1, 1", "output": "2", **changes}


def test_an_alpaca_input_stands_below_its_instruction_and_history_before(project: Small) -> None:
    jsonl(project.root / "a.jsonl", [alpaca(history=[["hi", "hello"]])])
    declare(project, "a.jsonl", "sft", rows="alpaca")
    (found,) = read(project)
    assert [part.content for part in found.parts if part.content not in (4, 5, "\n")][1::2] == [
        "hi", "hello", "add\n1, 1", "2",
    ]  # fmt: skip


def turn(**keys: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}, keys]}


def call(**keys: object) -> dict[str, object]:
    return turn(role="assistant", tool_calls=[{"function": keys}])


def said(**keys: object) -> dict[str, object]:
    return {"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}, keys]}


BAD_ROWS: dict[str, tuple[str, dict[str, object], str]] = {
    "an unknown key": ("messages", turn(role="user", content="x", weight=0), r"messages\[2\] has the unknown key 'w"),
    "a picture": ("messages", turn(role="user", content=[{"type": "image_url"}]), "is of type 'image_url'"),
    "a part without text": ("messages", turn(role="user", content=[{"type": "text"}]), r"content\[0\]\.text is a None"),
    "a bare part": ("messages", turn(role="user", content=["x"]), r"content\[0\] is of type 'str'"),
    "no parts": ("messages", turn(role="user", content=[]), r"messages\[2\]\.content is empty"),
    "a call by a user": ("messages", turn(role="user", content="x", tool_calls=[]), "only a turn of role assistant"),
    "an id of an assistant": ("messages", turn(role="assistant", content="x", tool_call_id="1"), "only .* role tool"),
    "a call of nothing": ("messages", call(arguments="{}"), r"tool_calls\[0\] does not name a function"),
    "arguments of text": ("messages", call(name="f", arguments="{"), r"arguments is not JSON"),
    "arguments of a list": ("messages", call(name="f", arguments=[1]), "arguments is a list instead of an object"),
    "a number as role": ("messages", turn(role=1, content="x"), r"role: found 1"),
    "a new role": ("messages", turn(role="developer", content="x"), "role: found 'developer'"),
    "no value": ("sharegpt", said(**{"from": "human"}), "does not have the keys 'from' and 'value'"),
    "nobody": ("sharegpt", said(**{"from": "bob", "value": "x"}), r"from: found 'bob'"),
    "a call that is no JSON": ("sharegpt", said(**{"from": "function_call", "value": "x"}), "value is not JSON"),
    "no answer": ("sharegpt", {"conversations": [{"from": "human", "value": "?"}]}, "no turn is the assistant's"),
    "no output": ("alpaca", {"instruction": "x"}, "the key 'output' is missing"),
    "an empty output": ("alpaca", alpaca(output=""), "output is empty"),
    "a number as input": ("alpaca", alpaca(input=3), "input is a int"),
    "half of a pair": ("alpaca", alpaca(history=[["x"]]), r"history\[0\] is not a question and its answer"),
    "no completion": ("prompt_completion", {"prompt": "x"}, "the key 'completion' is missing"),
    "text and messages": ("prompt_completion", {"prompt": "x", "completion": [{}]}, "completion is a list"),
    "a completion of the user": (
        "prompt_completion",
        {"prompt": [{"role": "user", "content": "x"}], "completion": [{"role": "user", "content": "x"}]},
        "no turn is the assistant's",
    ),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_conversation_is_named(project: Small, case: str) -> None:
    rows, row, why = BAD_ROWS[case]
    (project.root / "a.jsonl").write_bytes(b"\n" + lines([row]))
    declare(project, "a.jsonl", "sft", rows=rows)
    with pytest.raises(UserError, match=rf"^a\.jsonl:2: .*{why}.*; allowed: "):
        read(project)


def cut_off(write: Write) -> Write:
    def made(path: Path, rows: list[dict[str, Any]]) -> None:
        write(path, rows * 200)
        path.write_bytes(path.read_bytes()[:-40])

    return made


def garbage(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(b"not what it says" * 10)


def pipe(path: Path, rows: list[dict[str, Any]]) -> None:
    os.mkfifo(path)


def mixed(path: Path, rows: list[dict[str, Any]]) -> None:
    path.mkdir()
    jsonl(path / "a.jsonl", rows)
    (path / "README.md").write_text("about it")


def splits(path: Path, rows: list[dict[str, Any]]) -> None:
    path.mkdir()
    (path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    for split in ("train", "test"):
        saved(path / split, rows)


def lost(path: Path, rows: list[dict[str, Any]]) -> None:
    saved(path, rows)
    (path / "data-00001-of-00002.arrow").unlink()


def elsewhere(path: Path, rows: list[dict[str, Any]]) -> None:
    saved(path, rows)
    (path / "state.json").write_text('{"_data_files": [{"filename": "../a.arrow"}]}')


def unsaved(path: Path, rows: list[dict[str, Any]]) -> None:
    saved(path, rows)
    (path / "state.json").write_text("[")


def headed(path: Path, rows: list[dict[str, Any]]) -> None:
    parquet(path, [{"body": row["text"]} for row in rows])


BAD_FILES: dict[str, tuple[str, Write, str]] = {
    "gzip cut off": ("a.jsonl.gz", cut_off(gz), r"a\.jsonl\.gz: damaged"),
    "gzip that is none": ("a.jsonl.gz", garbage, r"a\.jsonl\.gz: damaged .Not a gzipped file"),
    "zstandard cut off": ("a.jsonl.zst", cut_off(zst), r"a\.jsonl\.zst: damaged .Truncated"),
    "zstandard that is none": ("a.jsonl.zst", garbage, r"a\.jsonl\.zst: damaged"),
    "parquet cut off": ("a.parquet", cut_off(parquet), r"a\.parquet: damaged, or not what its name says"),
    "parquet that is none": ("a.parquet", garbage, r"a\.parquet: damaged, or not what its name says"),
    "parquet that is empty": (
        "a.parquet",
        lambda path, _: path.write_bytes(b"") and None,
        "a.parquet: empty, and no file of its kind",
    ),
    "another column": ("a.parquet", headed, r"a\.parquet: no column 'text'; found: 'body'.*`columns`"),
    "arrow cut off": ("a.arrow", cut_off(arrow_file), r"a\.arrow: damaged, or not what its name says"),
    "a stream cut off": ("a.arrow", cut_off(arrow_stream), r"a\.arrow: damaged, or not what its name says"),
    "arrow that is none": ("a.arrow", garbage, r"a\.arrow: damaged, or not what its name says"),
    "rows of gzip by name of plain": ("a.jsonl", gz, r"a\.jsonl:1: not UTF-8"),
    "a pipe": ("a.jsonl", pipe, r"path: a\.jsonl: a\.jsonl: not a regular file"),
    "a folder of nothing": ("empty", lambda path, _: path.mkdir(), r"no file in it ends in \.jsonl, "),
    "a folder of two kinds": ("mixed", mixed, r"files of several kinds \(1 of \.jsonl, 1 of \.md\)"),
    "two splits": ("splits", splits, "several splits; name the folder of one: test, train"),
    "a data file that is gone": ("lost", lost, r"there is no such file .*data-00001-of-00002\.arrow"),
    "a data file elsewhere": ("elsewhere", elsewhere, r"state\.json in it names no file of the folder"),
    "a list that is none": ("unsaved", unsaved, r"state\.json in it does not list the data files"),
    "a kind that nobody reads": ("rows", jsonl, r"rows: of no known kind; allowed: \.jsonl, "),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_is_of_no_use_is_named(project: Small, case: str) -> None:
    name, write, why = BAD_FILES[case]
    write(project.root / name, [{"text": text} for text in TEXTS])
    declare(project, name)
    with pytest.raises(UserError, match=why):
        prepare.prepare(project.root, "mine", project.data / "mine", accept=True)
    assert [entry.name for entry in project.data.iterdir()] == ["tokenizer"]


def test_a_file_that_two_entries_name_is_refused(project: Small) -> None:
    jsonl(project.root / "a.jsonl", [{"text": text} for text in TEXTS])
    declare(project, ["a.jsonl", "*.jsonl"])
    with pytest.raises(UserError, match=r"path: \*\.jsonl: a\.jsonl is a\.jsonl, which is read already"):
        read(project)


def test_a_pattern_that_fits_nothing_is_refused(project: Small) -> None:
    declare(project, "**/*.jsonl")
    with pytest.raises(UserError, match=r"path: \*\*/\*\.jsonl: no file below .* is called so"):
        read(project)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"on_bad_row": "skip"}, "on_bad_row: found 'skip'; allowed: stop, or {skip: N}"),
        ({"on_bad_row": {"skip": -1}}, "on_bad_row.skip"),
        ({"on_bad_row": {"skip": 100_000}}, "on_bad_row.skip"),
        ({"rows": "alpaca"}, "rows: found alpaca; allowed: none for kind text"),
        ({"columns": {"messages": "x"}}, r"columns\.messages"),
        ({"root": "../up"}, "root"),
        ({"path": "a.csv"}, r"path: found 'a\.csv'; allowed: a file that ends in \.jsonl, .*, a folder or a pattern"),
        ({"path": []}, "path: found"),
        (
            {"path": "rows/**.jsonl"},
            r"path: found 'rows/\*\*\.jsonl'; allowed: \*\* between slashes, .*Write \*\*/\*\.jsonl",
        ),
        ({"path": "x" * 300}, r"path: found 'x.*; allowed: names of files and folders of 255 bytes at most"),
        ({"path": ["a.jsonl", "/etc/passwd"]}, "path"),
    ],
)
def test_a_spec_that_says_what_cannot_be_is_refused_by_its_line(
    project: Small, change: dict[str, object], why: str
) -> None:
    declare(project, **{"path": "a.jsonl", **change})  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=rf"^specs/data/mine\.yaml:\d+: {why}"):
        read(project)


def test_only_files_have_a_shape(project: Small) -> None:
    content = {"corpus": "mine", "kind": "text", "unit": "tokens", "builder": "math", "parameters": {"count": 9}}
    write_spec(project.root, "mine", {**content, **MEASURED, "columns": {"text": "x"}})
    with pytest.raises(SpecError, match=r"columns: found an entry; allowed: none; builder math has no columns"):
        spec.load(project.root, "mine")


@pytest.mark.parametrize("allowed", [2, 3])
def test_bad_rows_are_left_out_as_far_as_the_spec_says_and_listed(
    project: Small, monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    good = [json.dumps({"text": f"row {number}"}).encode() for number in range(40)]
    good[7], good[20], good[33] = b"{", b'{"text": ""}', b'{"body": 1}'
    (project.root / "a.jsonl").write_bytes(b"\n".join(good))
    declare(project, "a.jsonl", on_bad_row={"skip": allowed})
    monkeypatch.setattr(pieces, "PIECE", 200)
    if allowed == 2:
        with pytest.raises(UserError, match=r"^a\.jsonl:34: the key 'text' is missing"):
            prepare.prepare(project.root, "mine", project.data / "mine", accept=True)
        return
    made = prepare.prepare(project.root, "mine", project.data / "mine", accept=True)
    assert made.documents + made.heldout == 37
    inputs = read_manifest(project.data / "mine").inputs
    assert inputs is not None
    assert [(one.file, one.line) for one in inputs.skipped] == [("a.jsonl", 8), ("a.jsonl", 21), ("a.jsonl", 34)]
    assert inputs.skipped[1].why == "text is empty"
