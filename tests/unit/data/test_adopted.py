"""Megatron datasets: adopted without a copy, read in our order, and refused by their own line where they are wrong."""

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
from hypothesis import given
from hypothesis import strategies as st

from stages.data import buckets, measured, megatron, mmidx, prepare, prepared, spec, tokenizer_files
from stages.data.adopted import AdoptedTokens
from stages.data.prepared import Corpus, DataManifest
from stages.data.tokenizer_declared import declared
from stages.errors import SpecError, SpecErrors, UserError
from stages.spec.resolved_phases import Source
from tests.unit.data import published
from tests.unit.data.small import Small, load, phase, write_spec

BOS, EOS, IMAGE, VOCAB = 300, 301, 304, 307
DOCUMENTS = [[BOS, *range(5 + number, 9 + 2 * number), EOS] for number in range(40)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a tokenizer of 307 ids, declared."""
    published.write(tmp_path)
    accepted = declared(tmp_path, tokenizer_files.load(tmp_path, "mine", declared=False), check=False)
    assert accepted.open().vocab == VOCAB
    published.write(tmp_path, digest=accepted.digest, vocab=VOCAB)
    assert (accepted.open().roles.bos, accepted.open().roles.eos, accepted.open().roles.image) == (BOS, EOS, IMAGE)
    return tmp_path


def write(prefix: Path, documents: list[list[int]], dtype: str = "<u2") -> None:
    prefix.parent.mkdir(parents=True, exist_ok=True)
    flat = [token for document in documents for token in document]
    lengths = np.array([len(one) for one in documents], dtype=np.int64)
    prefix.with_name(prefix.name + ".bin").write_bytes(np.array(flat, dtype=dtype).tobytes())
    prefix.with_name(prefix.name + ".idx").write_bytes(mmidx.index_bytes(lengths, np.dtype(dtype)))


def declare(project: Path, prefix: object = "lake/a", **more: object) -> None:
    content = {"corpus": "mine", "kind": "text", "unit": "tokens", "builder": "megatron", "tokenizer": "mine"}
    write_spec(project, "mine", {**content, "prefix": prefix, **more})


def run(root: Path) -> DataManifest:
    return prepare.prepare(root, "mine", root / "results/mini/data/mine", accept=True)


def accept(root: Path) -> DataManifest:
    """Prepare, and put what came out into the spec."""
    made = run(root)
    path = root / "specs/data/mine.yaml"
    path.write_text(path.read_text() + measured.declaration(made))
    return made


def read(root: Path) -> list[list[int]]:
    corpus = Corpus(root / "results/mini/data/mine")
    pairs = zip(corpus.offsets, corpus.offsets[1:], strict=False)
    return [corpus.tokens[int(start) : int(end)].tolist() for start, end in pairs]


def test_its_documents_are_those_of_the_file_and_no_token_is_copied(root: Path) -> None:
    write(root / "lake/a", DOCUMENTS)
    declare(root)
    made = run(root)
    folder = root / "results/mini/data/mine"
    assert sorted(read(root)) == sorted(DOCUMENTS)
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json", "order.bin", "seal.json", "tokenizer.json", "tokenizer_use.json",
    }  # fmt: skip
    assert made.size == sum(map(len, read(root)[: made.documents]))
    assert (made.documents + made.heldout, made.longest) == (40, max(map(len, DOCUMENTS)))
    assert not list(folder.parent.glob(".mine*"))


def test_the_order_is_that_of_a_hash_and_not_of_the_file(root: Path) -> None:
    write(root / "lake/a", DOCUMENTS)
    declare(root)
    run(root)
    before = read(root)
    write(root / "lake/a", DOCUMENTS[::-1])
    run(root)
    assert read(root) == before != DOCUMENTS


@pytest.mark.parametrize("dtype", ["<u2", "<i2", "<i4", "<i8"])
def test_the_type_of_the_tokens_does_not_change_the_order(root: Path, dtype: str) -> None:
    write(root / "lake/a", DOCUMENTS)
    declare(root)
    run(root)
    before = read(root)
    write(root / "lake/a", DOCUMENTS, dtype)
    run(root)
    assert read(root) == before


def test_several_datasets_are_one_corpus(root: Path) -> None:
    write(root / "lake/a", DOCUMENTS)
    declare(root)
    whole = run(root)
    before = read(root)
    for name, part in (("one", DOCUMENTS[:11]), ("three", DOCUMENTS[30:]), ("two.x", DOCUMENTS[11:30])):
        write(root / f"lake/parts/{name}", part, "<i4" if name == "three" else "<u2")
    declare(root, ["lake/parts/t*", "lake/parts/one"])
    made = run(root)
    assert read(root) == before
    assert (made.size, made.documents, made.heldout) == (whole.size, whole.documents, whole.heldout)
    assert made.adopted is not None
    assert [one.prefix for one in made.adopted.datasets] == ["lake/parts/three", "lake/parts/two.x", "lake/parts/one"]


def test_a_document_of_several_sequences_is_one_document_and_an_empty_one_is_left_out(root: Path) -> None:
    flat = [BOS, 1, 2, EOS, BOS, 3, EOS]
    (root / "lake").mkdir()
    (root / "lake/a.bin").write_bytes(np.array(flat, dtype="<u2").tobytes())
    header = mmidx.HEADER.pack(mmidx.MAGIC, 1, 8, 4, 4)
    rest = struct.pack("<4i", 2, 0, 2, 3) + struct.pack("<4q", 0, 4, 4, 8) + struct.pack("<4q", 0, 3, 3, 4)
    (root / "lake/a.idx").write_bytes(header + rest)
    declare(root)
    made = run(root)
    assert sorted(read(root)) == [[BOS, 1, 2, EOS], [BOS, 3, EOS]]
    assert made.adopted is not None
    assert (made.adopted.empty, made.adopted.begin, made.adopted.end) == (1, 2, 2)


def test_it_is_said_how_many_documents_begin_and_end_as_the_tokenizer_writes_them(root: Path) -> None:
    write(root / "lake/a", [[BOS, 1, 2, EOS], [3, 4, EOS], [5, 6], [BOS, 7]])
    declare(root)
    made = run(root)
    assert made.adopted is not None
    assert (made.adopted.begin, made.adopted.end) == (2, 2)


def test_blocks_and_buckets_change_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root / "lake/a", DOCUMENTS * 3)
    declare(root)
    wanted = run(root)
    for documents, tokens, entries, rows in ((7, 5, 3, 4), (1, 1, 1, 1), (100, 64, 9, 50)):
        monkeypatch.setattr(megatron, "DOCUMENTS", documents)
        monkeypatch.setattr(megatron, "TOKENS", tokens)
        monkeypatch.setattr(megatron, "ENTRIES", entries)
        monkeypatch.setattr(buckets, "ROWS", rows)
        assert run(root) == wanted


@given(st.lists(st.lists(st.integers(0, 299), min_size=1, max_size=9), min_size=1, max_size=12), st.data())
def test_a_place_of_the_corpus_is_a_token_of_the_document_that_lies_there(
    documents: list[list[int]], draw: st.DataObject
) -> None:
    order = draw.draw(st.permutations(range(len(documents))))
    cut = draw.draw(st.integers(0, len(documents)))
    parts = ((documents[:cut], "<u2"), (documents[cut:], "<i4"))
    files = [np.array([token for one in part for token in one], dtype=kind) for part, kind in parts]
    lengths = np.array([len(one) for one in documents])
    starts = (np.cumsum(lengths) - lengths)[order]
    offsets = np.concatenate([[0], np.cumsum(lengths[order])])
    view = AdoptedTokens(files, np.array([0, len(files[0])]), starts, offsets)
    wanted = np.concatenate([documents[number] for number in order])
    places = draw.draw(st.lists(st.integers(0, len(wanted) - 1), min_size=1))
    first, last = sorted((places[0], places[-1]))
    assert len(view) == len(wanted)
    assert view[np.array(places)].tolist() == wanted[places].tolist()
    assert view[first:last].tolist() == wanted[first:last].tolist()


def test_it_trains_as_a_corpus_of_text_does(root: Path) -> None:
    """Windows and whole documents read the tokens that the documents have."""
    write(root / "lake/a", DOCUMENTS)
    declare(root)
    made = run(root)
    flat = np.concatenate(read(root))
    source = Source(corpus="mine", group="text", weight=1, start=0, end=made.size, digest=made.digest, kind="text")
    small = Small(root, root / "results/mini/data")
    row, other = load(small, phase(source, packing="concatenate", context=32, budget=64)).samples(0, 2, 0)
    for one in (row, other):
        (_, document, start, _) = one.spans[0]
        at = int(Corpus(small.data / "mine").offsets[document]) + start
        assert one.tokens.tolist() == flat[at : at + 32].tolist()
    [packed] = load(small, phase(source, packing="whole", context=128, budget=128)).samples(0, 1, 0)
    assert packed.tokens[packed.segments == 0].tolist() in DOCUMENTS


def test_files_below_a_declared_root_may_lie_anywhere(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    lake = tmp_path_factory.mktemp("lake")
    write(lake / "a", DOCUMENTS)
    declare(root, "a", root="lake")
    (root / "specs/data/roots.yaml").write_text(f"roots: {{lake: {lake}}}\n")
    made = accept(root)
    assert sorted(read(root)) == sorted(DOCUMENTS)
    assert str(lake) not in made.model_dump_json()
    moved = tmp_path_factory.mktemp("moved")
    for kind in (".bin", ".idx"):
        (lake / f"a{kind}").rename(moved / f"a{kind}")
    with pytest.raises(UserError, match=r"specs/data/mine\.yaml: prefix: there is no such file"):
        read(root)
    (root / "specs/data/roots.yaml").write_text(f"roots: {{lake: {moved}}}\n")
    assert sorted(read(root)) == sorted(DOCUMENTS)
    assert prepare.is_prepared(root, "mine", root / "results/mini/data/mine", deep=True)


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


def test_files_that_were_moved_are_the_same_corpus(root: Path) -> None:
    write(root / "lake/a", DOCUMENTS)
    declare(root)
    before = run(root).digest
    write(root / "elsewhere/b", DOCUMENTS)
    declare(root, "elsewhere/b")
    assert run(root).digest == before


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
    with pytest.raises((SpecError, SpecErrors), match=says):
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
