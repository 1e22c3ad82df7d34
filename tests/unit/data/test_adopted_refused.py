"""Megatron datasets that are wrong, or were changed: each refused by its own line."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from stages.data import spec
from stages.data.corpus import mmidx, prepared
from stages.data.corpus.prepared import Corpus
from stages.data.preparing import megatron, prepare
from stages.errors import InvalidSpecs, UserError
from tests.unit.data.adopted_tokens import BOS, DOCUMENTS, IMAGE, VOCAB, accept, declare, read, root, run, write

__all__ = ["root"]


def test_another_file_under_the_name_is_refused(root: Path) -> None:
    write(root / "lake/a", DOCUMENTS)
    declare(root)
    accept(root)
    folder = root / "results/mini/data/mine"
    prepared.check(folder)
    raw = bytearray((root / "lake/a.bin").read_bytes())
    raw[42] ^= 1
    (root / "lake/a.bin").write_bytes(raw)
    Corpus(folder)  # sizes alone do not tell
    with pytest.raises(UserError, match=r"corpus mine cannot be used: .*lake/a\.bin: expected blake3 .*, found blake3"):
        prepared.check(folder)
    with pytest.raises(UserError, match=r"specs/data/mine\.yaml: digest: declared .*, built"):
        prepare.prepare(root, "mine", folder)
    write(root / "lake/a", DOCUMENTS[:-1])
    with pytest.raises(UserError, match=r"corpus mine is damaged: .*lake/a\.bin: expected \d+ bytes"):
        Corpus(folder)


def index(documents: list[list[int]], dtype: str = "<u2") -> bytes:
    return mmidx.index_bytes(np.array([len(one) for one in documents], dtype=np.int64), np.dtype(dtype))


HEADER, COUNT = mmidx.HEADER.size, len(DOCUMENTS)
LENGTHS, POINTERS, BORDERS = HEADER, HEADER + 4 * COUNT, HEADER + 12 * COUNT


def put(at: int, kind: str, value: int) -> Callable[[bytes], bytes]:
    data = struct.pack(kind, value)
    return lambda raw: raw[:at] + data + raw[at + len(data) :]


INDEXES: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("empty", lambda raw: b"", r"a\.idx: not an indexed dataset"),
    ("another magic", lambda raw: b"TNTIDX\x00\x00\x00" + raw[9:], r"a\.idx: not an indexed dataset"),
    ("cut in the header", lambda raw: raw[:20], r"a\.idx: not an indexed dataset"),
    ("a later version", put(9, "<Q", 2), r"a\.idx: version 2"),
    ("float tokens", put(17, "<B", 6), r"a\.idx: version 1, data type 6"),
    ("an unknown type", put(17, "<B", 200), r"data type 200"),
    ("cut off", lambda raw: raw[:-1], r"a\.idx: \d+ bytes do not hold 40 sequences"),
    ("bytes behind", lambda raw: raw + b"\x00" * 8, r"a\.idx: \d+ bytes do not hold 40 sequences"),
    ("modes of a multimodal dataset", lambda raw: raw + b"\x00" * COUNT, r"a\.idx: an index with modes"),
    ("2^63 sequences", put(18, "<Q", 1 << 63), r"bytes do not hold 9223372036854775808 sequences"),
    ("no document indices", lambda raw: put(26, "<Q", 0)(raw)[:BORDERS], r"the borders of documents are missing"),
    ("a negative length", put(LENGTHS + 8, "<i", -1), r"sequence 2 has -1 tokens"),
    ("a length that is too long", put(LENGTHS, "<i", 7000), r"sequence 1 begins at byte 12, the one before it ends at"),
    ("a pointer beyond the file", put(POINTERS + 8, "<q", 1 << 40), r"sequence 1 begins at byte 1099511627776"),
    ("a negative pointer", put(POINTERS, "<q", -2), r"sequence 0 begins at byte -2"),
    ("sequences that overlap", put(POINTERS + 16, "<q", 0), r"sequence 2 begins at byte 0, the one before it ends at"),
    ("documents from the second on", put(BORDERS, "<q", 1), r"reach from sequence 1 to 40"),
    ("documents beyond the last", put(BORDERS + 8 * COUNT, "<q", 41), r"reach from sequence 0 to 41"),
    ("documents that go back", put(BORDERS + 16, "<q", 0), r"go back after document 1"),
    ("a border far outside", put(BORDERS + 16, "<q", 1 << 50), r"go back after document 2"),
    ("of another .bin", lambda _: index(DOCUMENTS[:-1]), r"a\.bin: \d+ bytes, the index asks for"),
    ("of another type", lambda _: index(DOCUMENTS, "<i4"), r"a\.bin: \d+ bytes, the index asks for"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "says"), [one[1:] for one in INDEXES], ids=[one[0] for one in INDEXES])
def test_a_hostile_index_is_refused_before_a_token_is_read(
    root: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[bytes], bytes], says: str
) -> None:
    write(root / "lake/a", DOCUMENTS)
    path = root / "lake/a.idx"
    path.write_bytes(change(path.read_bytes()))
    declare(root)
    monkeypatch.setattr(megatron.Scan, "documents", None)
    with pytest.raises(UserError, match=says):
        run(root)
    assert [one.name for one in (root / "results/mini/data").glob("*")] == []


IDS: list[tuple[str, list[list[int]], str, str]] = [
    ("beyond the vocabulary", [[1, 2], [3, VOCAB]], "<u2", r"a\.bin: token 1 of document 1 is 307; .* from 0 to 306"),
    ("far beyond", [[1, 2], [1 << 30, 3]], "<i4", r"token 0 of document 1 is 1073741824"),
    ("beyond 32 bits", [[1, 2], [3, 1 << 40]], "<i8", r"token 1 of document 1 is 1099511627776"),
    ("negative", [[1, 2], [3, 4, -1]], "<i4", r"token 2 of document 1 is -1"),
    ("a picture's", [[1, 2], [3, IMAGE]], "<u2", r"token 1 of document 1 is 304; the tokenizer's token of a picture"),
    ("bos in the middle", [[BOS, 2], [BOS, 4, BOS]], "<u2", r"token 2 of document 1 is 300; the tokenizer's bos"),
    ("one document", [[1, 2]], "<u2", r"mine\.yaml: prefix: 1 different documents"),
    ("equal documents", [[1, 2]] * 3, "<u2", r"mine\.yaml: prefix: 1 different documents"),
    ("no document", [], "<u2", r"mine\.yaml: prefix: 0 different documents"),
    ("nothing but empty ones", [[], []], "<u2", r"mine\.yaml: prefix: 0 different documents"),
]  # fmt: skip


@pytest.mark.parametrize(("documents", "dtype", "says"), [one[1:] for one in IDS], ids=[one[0] for one in IDS])
def test_tokens_that_cannot_be_the_tokenizers_are_refused(
    root: Path, documents: list[list[int]], dtype: str, says: str
) -> None:
    write(root / "lake/a", documents, dtype)
    declare(root)
    with pytest.raises(UserError, match=says):
        run(root)
    assert [one.name for one in (root / "results/mini/data").glob("*")] == []


SPECS: list[tuple[str, dict[str, Any], str]] = [
    ("no tokenizer", {"tokenizer": None}, r"mine\.yaml:.*tokenizer: found nothing"),
    ("no prefix", {"prefix": None}, r"mine\.yaml:.*prefix: found nothing"),
    ("the file itself", {"prefix": "lake/a.bin"}, r"Leave out \.bin and \.idx"),
    ("absolute", {"prefix": "/lake/a"}, r"a prefix relative to the project"),
    ("upwards", {"prefix": "../lake/a"}, r"a prefix relative to the project"),
    ("a folder", {"prefix": "lake/"}, r"without \.bin and \.idx"),
    ("no name", {"prefix": []}, r"a prefix relative to the project"),
    ("a path", {"path": "lake/a.jsonl"}, r"none; builder megatron reads no path"),
    ("rows", {"rows": "messages"}, r"none; builder megatron has no rows"),
    ("duplicates", {"duplicates": "drop"}, r"none; builder megatron has no duplicates"),
    ("conversations", {"kind": "sft"}, r"kind: found 'sft'"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "says"), [one[1:] for one in SPECS], ids=[one[0] for one in SPECS])
def test_a_spec_that_says_too_little_or_too_much_is_refused(root: Path, change: dict[str, Any], says: str) -> None:
    write(root / "lake/a", DOCUMENTS)
    declare(root, **change)
    path = root / "specs/data/mine.yaml"
    content = {key: value for key, value in yaml.safe_load(path.read_text()).items() if value is not None}
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InvalidSpecs, match=says):
        run(root)


def test_what_is_missing_twice_there_or_outside_is_named(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    write(outside / "a", DOCUMENTS)
    write(root / "lake/b", DOCUMENTS)
    (root / "lake/b.bin").rename(root / "lake/c.bin")
    (root / "lake/d.idx").symlink_to(outside / "a.idx")
    write(root / "lake/e", DOCUMENTS)
    (root / "lake/f.idx").write_bytes((root / "lake/e.idx").read_bytes())
    os.mkfifo(root / "lake/f.bin")
    for prefix, says in (
        ("lake/none", r"prefix: lake/none: there is no such file .*none\.idx"),
        ("lake/b", r"prefix: lake/b: there is no such file .*b\.bin"),
        ("lake/c", r"prefix: lake/c: there is no such file .*c\.idx"),
        ("lake/d", r"prefix: lake/d: .*a link that leads out"),
        ("lake/f", r"prefix: lake/f: .*not a regular file"),
        ("lake/n*", r"prefix: lake/n\*: no file below .* is called so"),
        (["lake/e", "lake/[e]"], r"lake/e is lake/e, which is read already"),
    ):
        declare(root, prefix)
        with pytest.raises(UserError, match=says):
            run(root)


@pytest.mark.parametrize(
    ("documents", "dtype", "refused"),
    [(DOCUMENTS, "<u2", True), (DOCUMENTS, "<i4", True), (DOCUMENTS[::-1], "<u2", True), (DOCUMENTS[1:], "<u2", False)],
    ids=["a copy", "in another type", "in another order", "another document less"],
)
def test_a_copy_of_a_dataset_is_refused(
    root: Path, documents: list[list[int]], dtype: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(megatron, "DOCUMENTS", 7)
    write(root / "lake/a", DOCUMENTS)
    write(root / "lake/a_copy", documents, dtype)
    write(root / "lake/empty", [])
    write(root / "lake/empty_too", [])
    declare(root, "lake/*")
    if not refused:
        assert run(root).documents + run(root).heldout == 2 * len(DOCUMENTS) - 1
        return
    with pytest.raises(UserError, match=r"^lake/a_copy: its 40 documents are those of lake/a, so that each would be"):
        run(root)
    assert not (root / "results/mini/data/mine").exists()


def test_a_dataset_that_is_written_to_meanwhile_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root / "lake/a", DOCUMENTS)
    declare(root)
    whole = megatron.Scan.documents

    def meanwhile(scan: megatron.Scan) -> Any:
        yield from whole(scan)
        os.utime(root / "lake/a.bin", (1, 1))

    monkeypatch.setattr(megatron.Scan, "documents", meanwhile)
    with pytest.raises(UserError, match=r"^lake/a\.bin: changed while it was read"):
        run(root)


def test_a_manifest_that_points_out_of_the_project_is_not_followed(root: Path) -> None:
    write(root / "lake/a", DOCUMENTS)
    declare(root)
    run(root)
    path = root / "results/mini/data/mine/manifest.json"
    content = json.loads(path.read_text())
    for prefix, says in (("../../etc/a", "there is no such file|leads out"), ("/etc/a", "adopted.datasets.0.prefix")):
        content["adopted"]["datasets"][0]["prefix"] = prefix
        path.write_text(json.dumps(content))
        with pytest.raises(UserError, match=says):
            read(root)


def test_the_local_tokenizer_is_not_trained_on_ids(root: Path) -> None:
    declare(root)
    with pytest.raises(UserError, match=r"mine\.yaml: has tokens and no text"):
        prepare.documents(root, spec.load(root, "mine", declared=False))
