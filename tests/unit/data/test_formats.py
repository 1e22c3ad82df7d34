"""Files as users have them: each format and shape gives the same documents, in the stated order."""

from __future__ import annotations

import gzip
import json

import pytest

from stages.data.files import pieces
from stages.errors import UserError
from tests.edits import replaced
from tests.unit.data.files_of_users import CHATS, FORMATS, SHAPES, TEXTS, declare, identities, jsonl, pa, parquet, read
from tests.unit.data.own_files import run
from tests.unit.data.small import Small, write_spec


@pytest.mark.parametrize("name", FORMATS)
def test_text_is_the_same_in_every_format(project: Small, name: str) -> None:
    FORMATS[name](project.root / name, [{"id": number, "text": text} for number, text in enumerate(TEXTS)])
    declare(project, name)
    assert [document.parts[0].content for document in read(project)] == TEXTS
    assert identities(project) == [json.dumps(text) for text in TEXTS]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_a_byte_order_mark_is_no_text_and_every_row_keeps_its_line(
    project: Small, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 60)
    data = b"\xef\xbb\xbf" + b"".join(json.dumps({"text": text}).encode() + b"\n" for text in TEXTS) + b"{}\n"
    written = {"gz": gzip.compress, "zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True)}
    (project.root / name).write_bytes(written.get(name.rpartition(".")[2], bytes)(data))
    declare(project, name, on_bad_row={"skip": 1})
    assert [document.parts[0].content for document in read(project)] == TEXTS
    declare(project, name)
    with pytest.raises(UserError, match=rf"^{name}:7: "):
        read(project)


@pytest.mark.parametrize("rows", SHAPES)
@pytest.mark.parametrize("name", FORMATS)
def test_a_conversation_is_the_same_in_every_format_and_shape(project: Small, name: str, rows: str) -> None:
    FORMATS[name](project.root / name, SHAPES[rows])
    declare(project, name, "sft", rows=rows)
    assert identities(project) == [json.dumps(chat, sort_keys=True) for chat in CHATS]


def test_a_file_of_the_hubs_cache_is_read_by_the_name_of_its_link(project: Small) -> None:
    cache = project.root / "cache"
    (cache / "blobs").mkdir(parents=True)
    (cache / "snapshots/1a2b/data").mkdir(parents=True)
    parquet(cache / "blobs/0123abcd", [{"text": text} for text in TEXTS])
    (cache / "snapshots/1a2b/data/train-00000-of-00001.parquet").symlink_to("../../../blobs/0123abcd")
    declare(project, "cache/snapshots/1a2b/data")
    assert [document.parts[0].content for document in read(project)] == TEXTS


def test_a_column_of_strings_may_hold_the_json_of_conversations(project: Small) -> None:
    parquet(project.root / "a.parquet", [{"messages": json.dumps(chat)} for chat in CHATS])
    declare(project, "a.parquet", "sft")
    assert identities(project) == [json.dumps(chat, sort_keys=True) for chat in CHATS]


@pytest.mark.parametrize("name", ["a.txt", "folder"])
def test_text_without_rows_is_the_same_too(project: Small, name: str) -> None:
    if name == "a.txt":
        (project.root / name).write_text("\n\n".join(TEXTS))
    else:
        (project.root / name).mkdir()
        for number, text in enumerate(TEXTS):
            (project.root / name / f"{number}.md").write_text(replaced(text, "\n", "\r\n", everywhere=True), newline="")
    declare(project, name)
    assert identities(project) == [json.dumps(text) for text in TEXTS]


def test_the_prepared_bytes_are_the_same_in_every_format(project: Small) -> None:
    """So what is held out is, and so is the digest that specs declare."""
    digests = set()
    for name, write in FORMATS.items():
        write(project.root / name, [{"text": text} for text in TEXTS])
        declare(project, name)
        manifest = run(project)
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
    with pytest.raises(UserError, match=r"^a\.parquet:5: text is null instead of a string"):
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
