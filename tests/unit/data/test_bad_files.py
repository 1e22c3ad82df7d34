"""Files of users that are of no use, and specs of them that say what cannot be: each has its own message."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from stages.data import spec
from stages.data.corpus.corpus_manifest import read_manifest
from stages.data.files import pieces
from stages.errors import SpecError, UserError
from tests.unit.data.files_of_users import (
    TEXTS,
    Write,
    arrow_file,
    arrow_stream,
    declare,
    gz,
    jsonl,
    pa,
    parquet,
    read,
    saved,
    zst,
)
from tests.unit.data.own_files import MEASURED, run
from tests.unit.data.small import Small, write_spec


def cut_off(write: Write) -> Write:
    def made(path: Path, rows: list[dict[str, Any]]) -> None:
        write(path, rows * 200)
        path.write_bytes(path.read_bytes()[:-40])

    return made


def twice(path: Path, rows: list[dict[str, Any]]) -> None:
    gz(path, rows)
    path.write_bytes(pa.Codec("zstd").compress(path.read_bytes(), asbytes=True))


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
        lambda path, _: path.write_bytes(b""),
        "a.parquet: empty, and no file of its kind",
    ),
    "another column": ("a.parquet", headed, r"a\.parquet: no column 'text'; found: 'body'.*`columns`"),
    "arrow cut off": ("a.arrow", cut_off(arrow_file), r"a\.arrow: damaged, or not what its name says"),
    "a stream cut off": ("a.arrow", cut_off(arrow_stream), r"a\.arrow: damaged, or not what its name says"),
    "arrow that is none": ("a.arrow", garbage, r"a\.arrow: damaged, or not what its name says"),
    "rows of gzip by name of plain": (
        "a.jsonl",
        gz,
        r"a\.jsonl: begins as gzip does, and its name says text\. Name it \.jsonl\.gz",
    ),
    "zstandard by name of text": ("a.txt", zst, r"a\.txt: begins as zstandard does, and its name says text"),
    "Parquet by name of rows": ("a.jsonl", parquet, r"a\.jsonl: begins as Parquet does, .*Name it \.parquet"),
    "Arrow by name of rows": ("a.jsonl", arrow_file, r"a\.jsonl: begins as Arrow does"),
    "gzip in zstandard": (
        "a.jsonl.zst",
        twice,
        r"a\.jsonl\.zst: what is in it begins as gzip does\. Unpack it once more",
    ),
    "UTF-32 by name of Markdown": (
        "a.md",
        lambda path, _: path.write_bytes("text".encode("utf-32")),
        r"a\.md: begins as UTF-32 .*`iconv -f UTF-32",
    ),
    "UTF-16 by name of Markdown": (
        "a.md",
        lambda path, _: path.write_bytes("a".encode("utf-16")),
        r"a\.md: begins as UTF-16 .*`iconv -f UTF-16",
    ),
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
    """However many bad rows may be left out."""
    name, write, why = BAD_FILES[case]
    write(project.root / name, [{"text": text} for text in TEXTS])
    declare(project, name, on_bad_row={"skip": 10_000})
    with pytest.raises(UserError, match=why):
        run(project)
    assert [entry.name for entry in project.data.iterdir()] == ["tokenizer"]


def test_a_file_that_two_entries_name_is_refused(project: Small) -> None:
    jsonl(project.root / "a.jsonl", [{"text": text} for text in TEXTS])
    declare(project, ["a.jsonl", "*.jsonl"])
    with pytest.raises(UserError, match=r"path: \*\.jsonl: a\.jsonl is a\.jsonl, which is read already"):
        read(project)


def test_a_copy_of_a_file_of_rows_is_refused_unless_duplicates_are_dropped(project: Small) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        jsonl(project.root / name, [{"text": text} for text in TEXTS])
    declare(project, "*.jsonl")
    with pytest.raises(UserError, match=r"^b\.jsonl: its content is that of a\.jsonl, so that each row would be read"):
        run(project)
    declare(project, "*.jsonl", duplicates="drop")
    run(project)


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
        (
            {"kind": "sft", "rows": "alpaca", "columns": {"instruction": "output"}},
            r"columns\.instruction: found output; allowed: a column of its own: output is read from this one",
        ),
        ({"kind": "sft", "columns": {"messages": "tools"}}, r"columns\.messages: .* tools is read from this one"),
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
    project: Small, change: dict[str, Any], why: str
) -> None:
    declare(project, **{"path": "a.jsonl", **change})
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
            run(project)
        return
    made = run(project)
    assert made.documents + made.heldout == 37
    inputs = read_manifest(project.data / "mine").inputs
    assert inputs is not None
    assert [(one.file, one.line) for one in inputs.skipped] == [("a.jsonl", 8), ("a.jsonl", 21), ("a.jsonl", 34)]
    assert inputs.skipped[1].why == "text is empty"
